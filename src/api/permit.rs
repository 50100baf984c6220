//! The right to have a request under way, which is given back whatever becomes of it.

use super::pacing::{Message, Signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The right to have one request under way.
#[derive(Debug)]
pub struct Permit {
    pub(in crate::api) departed: Instant,
    pub(in crate::api) gate: Option<mpsc::UnboundedSender<Message>>,
}

impl Permit {
    /// Gives the place back and says how it went.
    pub fn leave(mut self, signal: Signal) {
        self.give_back(signal);
    }

    fn give_back(&mut self, signal: Signal) {
        if let Some(gate) = self.gate.take() {
            // The gate is gone only where the whole run is.
            let _ = gate.send(Message::Left(self.departed, signal));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(Signal::Unknown);
    }
}
