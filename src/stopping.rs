//! When to stop, and how it ended.

/// The rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stopping {
    pub max_steps: u64,
    /// Stop when the optimality is at most `tolerance` times that at zero parameters; zero never stops early.
    pub tolerance: f64,
    pub max_seconds: Option<f64>,
    pub target_loss: Option<f64>,
    /// Evaluations that the validation loss may fail to improve, where there is one.
    pub patience: u64,
}

impl Stopping {
    pub fn steps(max_steps: u64) -> Self {
        Self { max_steps, tolerance: 0.0, max_seconds: None, target_loss: None, patience: u64::MAX }
    }
}

/// How a descent ended. The façade has the sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Converged,
    MaxSteps,
    MaxSeconds,
    TargetLoss,
    /// The validation loss has not improved for a while.
    EarlyStopped,
    /// The method finds no better point.
    Stalled,
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
            Self::MaxSeconds => "max_seconds",
            Self::TargetLoss => "target_loss",
            Self::EarlyStopped => "early_stopped",
            Self::Stalled => "stalled",
            Self::Stopped => "stopped",
            Self::Diverged => "diverged",
        }
    }
}
