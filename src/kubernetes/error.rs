//! Why the Kubernetes API did not say what a pod declares.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::AnswerError;
use hostfs::ownership::Untrusted;
use strict_groups_core::text;

/// Why it is not known whom to ask, or as whom.
#[derive(Debug, Error)]
pub enum AccessError {
    /// This binary has no client.
    #[error(
        "[kubernetes] enabled = true, but this strict-groups was built without the feature kubernetes-api; \
         use one that was built with it, or remove the table"
    )]
    NotBuilt,
    /// Not in a pod, and no kubeconfig.
    #[error(
        "[kubernetes] has no kubeconfig, and there is no {0} in the environment, so this is not a pod; \
         name a kubeconfig file"
    )]
    NotInAPod(&'static str),
    /// A path that depends on where the plugin was started.
    #[error("[kubernetes] kubeconfig = \"{}\" must be an absolute path", .0.display())]
    Relative(PathBuf),
    /// Others than root could change it.
    #[error("the kubeconfig {0}")]
    NotTrusted(#[source] Untrusted),
    /// A file cannot be read.
    #[error("cannot read {}: {source}; it has to exist and be readable for root without CAP_DAC_OVERRIDE", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kubeconfig is not YAML, or not of the known form.
    #[error("the kubeconfig {} is not understood: {reason}", path.display())]
    NotUnderstood {
        /// The file.
        path: PathBuf,
        /// What the reader said, on one line.
        reason: String,
    },
    /// The kubeconfig names something that is not in it.
    #[error("the kubeconfig has no {what} {}", text::quoted(.name, 64))]
    NoSuch {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The kubeconfig wants something that is not done here, for safety or because nobody needed it.
    #[error("{field} in the kubeconfig is not supported; use {instead}")]
    NotSupported {
        /// The field.
        field: &'static str,
        /// What does the job.
        instead: &'static str,
    },
    /// The server's address is not one.
    #[error("the API server's address {} is not https://HOST[:PORT]", text::quoted(.0, 96))]
    BadServer(String),
    /// A certificate, key or token is not one.
    #[error("{what} is not usable: {reason}")]
    BadCredential {
        /// Which one.
        what: &'static str,
        /// Why, on one line.
        reason: String,
    },
}

/// Why the API server did not say what a pod declares.
#[derive(Debug, Error)]
pub enum AskError {
    /// It is not known whom to ask, or as whom.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// No connection.
    #[error("cannot connect to the API server {server}: {source}")]
    Connect {
        /// Host and port.
        server: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server is not the one that it should be.
    #[error(
        "the API server {server} is not trusted: {source}; check certificate-authority and the server's name"
    )]
    Certificate {
        /// Host and port.
        server: String,
        /// What TLS said.
        source: io::Error,
    },
    /// The connection broke, or what came is no HTTP.
    #[error("the API server did not answer in full: {0}")]
    Broken(String),
    /// Took too long.
    #[error("the API server did not answer in time")]
    Slow,
    /// More than any pod has.
    #[error("the API server's answer is too long")]
    TooLong,
    /// The name is none, so that it is not put into a URL.
    #[error("the pod's name is none that Kubernetes allows")]
    BadName,
    /// 401
    #[error("the API server does not accept the credential (401); renew the token or client certificate")]
    Unauthorized,
    /// 403
    #[error(
        "the credential may not read this pod (403); give it a ClusterRole with the verb get for pods, or use the \
         kubelet's kubeconfig"
    )]
    Forbidden,
    /// 404
    #[error("the API server has no such pod (404); it was deleted, or this is another cluster's API server")]
    NotFound,
    /// Any other status.
    #[error("the API server answered with status {0}")]
    Status(u16),
    /// The answer is of no use.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl AskError {
    /// Whether to ask again may help, since what is wrong passes by itself.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            // A token or certificate that is just being replaced is among the first and the last two.
            Self::Access(_) | Self::Connect { .. } | Self::Broken(_) | Self::Slow | Self::Unauthorized => {
                true
            }
            Self::Status(status) => *status == 429 || *status >= 500,
            Self::Certificate { .. }
            | Self::TooLong
            | Self::BadName
            | Self::Forbidden
            | Self::NotFound
            | Self::Answer(_) => false,
        }
    }
}
