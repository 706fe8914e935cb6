//! The node's files and processes, where others than root may have a hand in them.
//!
//! | module | what it answers |
//! |---|---|
//! | [`ownership`] | can anybody but root replace what is at this path, or listen on this socket |
//! | [`rootfs`] | a file of a container, without following its links out of the container |
//! | [`identity`] | which groups does this process have |
//! | [`atomic_write`] | a file in the place of another one |
//! | [`socket`] | a socket to listen on, for root alone |
//! | [`program`] | what does this program print, within a time |

pub mod atomic_write;
#[cfg(any(test, feature = "test-support"))]
pub mod executable;
pub mod identity;
pub mod ownership;
pub mod program;
pub mod rootfs;
pub mod socket;
