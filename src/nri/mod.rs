//! An NRI plugin stub.

/// The messages of NRI, generated from `proto/nri.proto`.
pub mod api {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/nri.pkg.api.v1alpha1.rs"));
}
