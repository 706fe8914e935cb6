//! An NRI plugin stub.

mod answer;
mod client;
mod connect;
mod connection;
mod dispatch;
mod error;
mod events;
mod guard;
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

pub use client::Runtime;
pub use error::{BoxError, CallError, Error, ProtocolError};
pub use events::Events;
pub use options::{DEFAULT_SOCKET, Identity, Options, is_launched};
pub use plugin::{Plugin, RuntimeInfo};
pub use run::run;
pub use status::{Code, Status};

/// The messages of NRI, generated from `proto/nri.proto`.
pub mod api {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/nri.pkg.api.v1alpha1.rs"));
}
