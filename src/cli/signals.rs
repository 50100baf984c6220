//! Ctrl-C and TERM: the first asks the run to stop, the second leaves at once.

use super::error::Kind;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Listens from now on. The receiver becomes true with the first signal; the second one ends the process,
/// which is as safe as a `kill -9`: whatever must be known is on the disk before it is acted upon.
pub fn stop_on_signals() -> watch::Receiver<bool> {
    let (stop, stopped) = watch::channel(false);
    // Registered here and not in the task, so that no signal falls between the call and the task's start.
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    if let (Ok(mut interrupt), Ok(mut terminate)) = signals {
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if *stop.borrow() {
                    #[expect(clippy::exit, reason = "the one way out that waits for nothing")]
                    std::process::exit(Kind::Stopped as i32);
                }
                let _ = stop.send(true);
            }
        });
    }
    stopped
}
