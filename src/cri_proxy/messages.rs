//! One of each message, for `docs/troubleshooting.md`.

use std::path::Path;

use super::{
    edit::Refused,
    reply::{Failed, Unavailable},
};
use crate::troubleshooting::{every, samples};
use uds_grpc::frame::FrameError;

pub(crate) fn all() -> Vec<String> {
    let pod = || samples::POD.to_owned();
    let refused = every!(Refused;
        Refused::UnknownPolicy { .. } => Refused::UnknownPolicy { pod: pod(), number: 7 },
        Refused::Contradiction { .. } => {
            Refused::Contradiction { pod: pod(), key: "KEY".to_owned(), value: "VALUE".to_owned() }
        },
        Refused::NotEnforced { .. } => Refused::NotEnforced { pod: pod(), reason: "DETAIL".to_owned() },
        Refused::NotSeen { .. } => {
            Refused::NotSeen { pod: pod(), container: samples::CONTAINER.to_owned() }
        },
        Refused::NotUnderstood => Refused::NotUnderstood,
    );
    let body = every!(FrameError;
        FrameError::Compressed => FrameError::Compressed,
        FrameError::TooLarge { .. } => FrameError::TooLarge { length: 100_000_000, limit: 67_108_864 },
        FrameError::NotOne => FrameError::NotOne,
    );
    let failed = every!(Failed;
        Failed::Unavailable(_) => Unavailable::new(Path::new("/SOCKET"), "WHY").into(),
        Failed::Cut => Failed::Cut,
        // Their own texts are above.
        Failed::Refused(_) => Failed::Refused(Refused::NotUnderstood),
        Failed::Body(_) => Failed::Body(FrameError::NotOne),
    );
    let refused = refused.into_iter().map(Failed::from);
    refused.chain(body.into_iter().map(Failed::from)).chain(failed).map(|failed| failed.text()).collect()
}
