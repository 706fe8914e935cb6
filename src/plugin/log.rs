//! Log lines about one container.

/// A line of this level (`info`, `warn`, `error`) with the fields that find it in the journal:
/// `journalctl POD=web NAMESPACE=default CONTAINER=app`. More fields and the message follow, as in
/// `tracing`'s own macros.
macro_rules! about {
    ($level:ident, $pod:expr, $container:expr, $($line:tt)+) => {
        tracing::$level!(
            pod = $pod.name,
            namespace = $pod.namespace,
            container = $container.name,
            $($line)+
        )
    };
}

pub(super) use about;
