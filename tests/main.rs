//! The integration tests: the real binary, real sockets, real files, real kills. One binary, so that it links once.

mod journey;
mod kills;
mod pace;
mod support;
