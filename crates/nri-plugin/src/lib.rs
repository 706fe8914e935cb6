//! Write an NRI plugin.
//!
//! The Node Resource Interface lets a plugin see and adjust what containerd and CRI-O make of pods and containers.
//! This crate is the part that every plugin needs: the connection, the protocol and the calls. It knows nothing of
//! what the plugin is for. It works with every runtime from NRI 0.3 (CRI-O 1.26, containerd 1.7) to 0.12.
//!
//! # A plugin
//!
//! 1. Implement [`Plugin`]: name the [`Events`] you want, and override their handlers. The messages are in [`api`];
//!    a plugin that reads little of them names smaller ones ([`View`]), which is several times as fast.
//! 2. Make [`Options`] from an [`Identity`]: a name and two digits, the place among the node's plugins.
//!    [`Options::from_env`] also serves a plugin that the runtime launches itself.
//! 3. [`run()`] it, on a tokio runtime of any flavour.
//!
//! All of `examples/nri_logger.rs`:
//!
//! ```no_run
#![doc = include_str!("../examples/nri_logger.rs")]
//! ```
//!
//! # What you can rely on
//!
//! - The connection is made again whenever it ends, and waited for when the runtime is not there (or has NRI off: the
//!   log says what to do). [`Plugin::connected`] and [`Plugin::disconnected`] tell.
//! - Every call is answered, also after an error, a panic or a handler that hangs. This matters: a runtime closes
//!   the connection to a plugin that does not answer in time, and goes on **without** it. So the answer to a handler
//!   that takes too long is an error, sent a quarter of the runtime's time limit (2 s by default) before its end.
//! - Old runtimes tell most events as `StateChange`, new ones by a method each: the handlers are the same.
//! - [`Plugin::synchronize`] gets the whole state at once, up to 16 MiB in one message (old runtimes do not split it)
//!   and 64 MiB in parts.
//! - A runtime that breaks the protocol is disconnected, with an [`Error`] that says why, and connected to again.
//!
//! # What to mind
//!
//! - A runtime makes its calls one at a time, for the whole node: time spent in a handler delays every pod.
//! - Handlers run on the task that reads the connection until they first wait. Do not block the thread: a blocked
//!   thread sends no answer either. Use `tokio::task::spawn_blocking`.
//! - An answer of more than 1 MiB is not sent, an error is: runtimes queue 256 frames of 4096 bytes and close the
//!   connection over one more.
//! - A handler must not wait for [`RuntimeService::update_containers`]: the runtime answers no call while it makes one.
//! - [`Plugin::shutdown`] is the runtime's word that it will close the connection, not that the plugin should end.
//!
//! # Inside
//!
//! `mux` (frames) and `ttrpc` (messages) are pure and hold no socket; `dispatch` goes from a method's name to the
//! handler, `guard` bounds it, `session` is what one connection knows, `connection` moves its bytes, `run` makes the
//! next one.

#![warn(missing_docs)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod answer;
mod awake;
mod client;
mod connect;
mod connection;
mod dispatch;
mod error;
mod events;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod handler;
mod inherited;
mod mux;
mod options;
mod plugin;
mod request;
mod run;
mod session;
mod status;
mod sync;
mod ttrpc;
mod view;

pub use client::RuntimeService;
pub use connect::{Connecting, Stream};
pub use error::{BoxError, CallError, Error, ProtocolError};
pub use events::Events;
pub use options::{DEFAULT_SOCKET, Identity, Options, is_launched};
pub use plugin::{Plugin, RuntimeInfo};
pub use run::run;
use status::Code;
pub use status::{Status, with_sources};
pub use view::View;

/// The messages of NRI, generated from `proto/nri.proto`.
pub mod api {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/nri.pkg.api.v1alpha1.rs"));
}
