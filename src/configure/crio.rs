//! The node's side of CRI-O: a drop-in (NRI on, the wrapper as OCI runtime) and the static gate.
//!
//! Made after CRI-O's documentation and source, 1.26 to 1.30.

mod drop_in;
mod hook;
mod settings;

pub use drop_in::{Input, NAME as DROP_IN, Plan, drop_in};
pub use hook::{FILE as HOOK_FILE, hook_file};
pub use settings::{Settings, SettingsError};
