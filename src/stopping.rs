//! When to stop, and how it ended.

/// The rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stopping {
    pub max_steps: u64,
    /// Stop when ‖∇F‖ ≤ `tolerance` · `reference`; zero never stops early.
    pub tolerance: f64,
    /// ‖∇F(0)‖; None takes the norm at the start, which is the same for a start at zero.
    pub reference: Option<f64>,
}

impl Stopping {
    pub fn is_met(&self, gradient_norm: f64, first_gradient_norm: f64) -> bool {
        let reference = self.reference.unwrap_or(first_gradient_norm);
        self.tolerance > 0.0 && gradient_norm <= self.tolerance * reference
    }
}

/// How a descent ended. The façade has the sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Converged,
    MaxSteps,
    /// The watcher asked to stop.
    Stopped,
    /// The value or the gradient is no longer finite.
    Diverged,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::MaxSteps => "max_steps",
            Self::Stopped => "stopped",
            Self::Diverged => "diverged",
        }
    }
}
