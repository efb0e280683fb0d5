//! Search on a line, on scores that are already known.
//!
//! The first trial, the full step, is evaluated by a pass. If it is good enough, the step has cost one pass. If not, the
//! scores on the whole line are known from its two ends, so all further trials read no data; one more pass evaluates
//! the point that they choose.

use crate::error::Error;
use crate::lanes::dot;
use crate::objective::Objective;
use crate::step::Evaluated;

/// Share of the promised decrease that is asked for, and share of the slope that may be left.
const DECREASE: f64 = 1e-4;
const SLOPE_LEFT: f64 = 0.9;
const MOST_TRIALS: usize = 60;
/// Points by the secant that may be too far, one after the other. Where the slope is the same all the way down and all the
/// way up, a secant only halves: it would not come down from a step as long as next to no curvature makes it.
const MOST_TOO_LONG: usize = 6;
/// The largest step, relative to the full one.
const LONGEST: f64 = 1e10;

/// The line's start: value and slope of the smooth part, and what rounding may add to a value.
struct Line {
    value: f64,
    slope: f64,
    rounding: f64,
}

enum Verdict {
    Good,
    TooShort,
    TooLong,
}

impl Line {
    /// The conditions of Wolfe. Where rounding hides the decrease, the slope stands for it, as in the approximate
    /// conditions of Hager and Zhang.
    fn judge(&self, t: f64, value: f64, slope: f64) -> Verdict {
        let decreases = value <= self.value + DECREASE * t * self.slope
            || (value <= self.value + self.rounding && slope <= (2.0 * DECREASE - 1.0) * self.slope);
        if !(value.is_finite() && slope.is_finite() && decreases) {
            Verdict::TooLong
        } else if slope < SLOPE_LEFT * self.slope {
            Verdict::TooShort
        } else {
            Verdict::Good
        }
    }
}

/// How long a search may go on where rounding hides what values say, for gradients that need not fall at every step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    most: u64,
    /// The smallest norm of a gradient so far, and the steps since.
    pub flattest: f64,
    pub n_since: u64,
}

impl Patience {
    pub fn new(most: u64) -> Self {
        Self { most, flattest: f64::INFINITY, n_since: 0 }
    }

    fn allows(&mut self, norm: f64) -> bool {
        self.n_since = if norm < self.flattest { 0 } else { self.n_since.saturating_add(1) };
        self.flattest = self.flattest.min(norm);
        self.n_since <= self.most
    }
}

/// Moves `here` along `direction` to a point that satisfies the conditions; returns the step size, or None if there is
/// no such point, and `here` stays.
pub fn search(
    objective: &mut dyn Objective,
    here: &mut Evaluated,
    direction: &[f64],
    patience: &mut Patience,
) -> Result<Option<f64>, Error> {
    let slope = dot(&here.gradient, direction);
    if !(slope < 0.0 && slope.is_finite()) {
        return Ok(None);
    }
    let rounding = objective.rounding(here.value);
    let line = Line { value: here.value, slope, rounding };
    objective.hold();
    let full = at(objective, here, direction, 1.0)?;
    let full_slope = dot(&full.gradient, direction);
    // Where no value can tell better from worse, gradients still can.
    let blind = -slope <= rounding;
    let norm = |point: &Evaluated| dot(&point.gradient, &point.gradient).sqrt();
    if blind {
        patience.flattest = patience.flattest.min(norm(here));
    }
    let first = line.judge(1.0, full.value, full_slope);
    let promising = matches!(first, Verdict::Good) || (blind && norm(&full) < norm(here));
    let (point, t) = if promising {
        (full, 1.0)
    } else {
        let Some(t) = on_the_line(objective, &line, &first, full_slope)? else {
            return Ok(None);
        };
        (at(objective, here, direction, t)?, t)
    };
    let better = if blind { patience.allows(norm(&point)) } else { point.value <= here.value + rounding };
    if better {
        *here = point;
    }
    Ok(better.then_some(t))
}

fn at(objective: &mut dyn Objective, here: &Evaluated, direction: &[f64], t: f64) -> Result<Evaluated, Error> {
    let parameters = here.parameters.iter().zip(direction).map(|(from, way)| from + t * way).collect();
    Evaluated::new(objective, parameters)
}

/// Brackets a good point, then narrows the bracket by the secant of the slopes, never by less than a tenth.
fn on_the_line(
    objective: &mut dyn Objective,
    line: &Line,
    first: &Verdict,
    full_slope: f64,
) -> Result<Option<f64>, Error> {
    let (mut low, mut low_slope) = (0.0, line.slope);
    let (mut high, mut n_too_long) = (None, 0);
    match first {
        Verdict::TooShort => (low, low_slope) = (1.0, full_slope),
        _ => high = Some((1.0, full_slope)),
    }
    for _ in 0..MOST_TRIALS {
        let t = match high {
            None => 2.0 * low,
            Some((high, high_slope)) => {
                let secant = low - low_slope * (high - low) / (high_slope - low_slope);
                let width = high - low;
                let useful = secant.is_finite() && n_too_long < MOST_TOO_LONG;
                if useful { secant.clamp(low + 0.1 * width, high - 0.1 * width) } else { low + 0.1 * width }
            }
        };
        if t > LONGEST {
            break;
        }
        let (value, slope) = objective.along(t)?;
        match line.judge(t, value, slope) {
            Verdict::Good => return Ok(Some(t)),
            Verdict::TooShort => (low, low_slope, n_too_long) = (t, slope, 0),
            Verdict::TooLong => (high, n_too_long) = (Some((t, slope)), n_too_long + 1),
        }
    }
    // Better than nothing: the longest point known to descend.
    Ok((low > 0.0).then_some(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_and_stays_ended() {
        let mut patience = Patience::new(1);
        let allowed = [3.0, 4.0, 4.0, 2.0].map(|norm| patience.allows(norm));
        assert_eq!(allowed, [true, true, false, true]);
        assert!(!Patience { n_since: u64::MAX, ..patience }.allows(3.0));
    }
}
