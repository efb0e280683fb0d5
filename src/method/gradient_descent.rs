use super::Method;

/// w ← w − η ∇F(w)
pub struct GradientDescent;

impl Method for GradientDescent {
    fn advance(&mut self, point: &mut [f64], gradient: &[f64], step_size: f64) {
        for (parameter, slope) in point.iter_mut().zip(gradient) {
            *parameter -= step_size * slope;
        }
    }
}
