//! One request, as the log tells of it.

use reqwest::{Method, StatusCode};
use std::time::Instant;

/// A request that has been made. Told when it is over, be it because nobody waits for its answer any more.
pub(super) struct Asked {
    method: Method,
    /// Without ids and questions, which may hold addresses.
    route: &'static str,
    began: Instant,
    /// 0 where no answer came.
    pub(super) status: u16,
    /// Bytes of the answer's body, as they came to be read.
    pub(super) bytes: usize,
    class: &'static str,
}

impl Asked {
    pub(super) fn now(method: Method, route: &'static str) -> Self {
        Self {
            method,
            route,
            began: Instant::now(),
            status: 0,
            bytes: 0,
            class: "given_up",
        }
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    /// Says what came of it.
    pub(super) fn over(mut self, class: &'static str) {
        self.class = class;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let ms = self.began.elapsed().as_millis() as u64;
        let (method, route, class) = (self.method.as_str(), self.route, self.class);
        tracing::debug!(
            method,
            route,
            status = self.status,
            ms,
            bytes = self.bytes,
            class,
            "request"
        );
    }
}
