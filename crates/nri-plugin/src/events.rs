//! The set of events that a plugin wants.

use std::ops::{BitOr, BitOrAssign};

use super::{RuntimeInfo, api::Event};

/// A set of NRI events. Combine them with `|`.
///
/// ```
/// use nri_plugin::Events;
/// let wanted = Events::CREATE_CONTAINER | Events::POST_START_CONTAINER;
/// assert!(wanted.contains(Events::CREATE_CONTAINER));
/// assert!(!wanted.contains(Events::STOP_CONTAINER));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events(u32);

macro_rules! events {
    ($($name:ident = $event:ident, $what:literal;)*) => {
        impl Events {
            $(#[doc = $what] pub const $name: Self = Self::of(Event::$event);)*
            /// Every event of NRI.
            pub const ALL: Self = Self(0 $(| Self::$name.0)*);
        }
    };
}

events! {
    RUN_POD_SANDBOX = RunPodSandbox, "A pod's sandbox was started.";
    STOP_POD_SANDBOX = StopPodSandbox, "A pod's sandbox was stopped.";
    REMOVE_POD_SANDBOX = RemovePodSandbox, "A pod's sandbox was removed.";
    CREATE_CONTAINER = CreateContainer, "A container is about to be created; the plugin may adjust it.";
    POST_CREATE_CONTAINER = PostCreateContainer, "A container was created; it cannot have been started yet.";
    START_CONTAINER = StartContainer, "A container is about to be started.";
    POST_START_CONTAINER = PostStartContainer, "A container was started.";
    UPDATE_CONTAINER = UpdateContainer, "A container's resources are about to be changed.";
    POST_UPDATE_CONTAINER = PostUpdateContainer, "A container's resources were changed.";
    STOP_CONTAINER = StopContainer, "A container was stopped.";
    REMOVE_CONTAINER = RemoveContainer, "A container was removed.";
    UPDATE_POD_SANDBOX = UpdatePodSandbox, "A pod's resources are about to be changed. Since NRI 0.10.";
    POST_UPDATE_POD_SANDBOX = PostUpdatePodSandbox, "A pod's resources were changed. Since NRI 0.10.";
    VALIDATE_CONTAINER_ADJUSTMENT = ValidateContainerAdjustment,
        "What all plugins together want to adjust; the plugin may reject it. Since NRI 0.10.";
}

impl Events {
    /// No event at all. (On the wire an empty set means all events: they are then answered, not handled.)
    pub const NONE: Self = Self(0);

    const fn of(event: Event) -> Self {
        Self(1 << (event as u32 - 1))
    }

    /// Whether the one event is in this set.
    pub(super) fn has(self, event: Event) -> bool {
        event != Event::Unknown && self.contains(Self::of(event))
    }

    /// The events of this set that the runtime knows: it refuses a plugin that asks for others.
    ///
    /// Up to NRI 0.9 those are the events 1 to 11, since 0.10 all 14. Only since 0.12 a runtime tells its NRI
    /// version; of the others it is known which of their releases came with 0.10. When in doubt, 11.
    pub(super) fn known_to(self, runtime: &RuntimeInfo) -> Self {
        let first = match runtime.name.as_str() {
            "containerd" => (2, 2),
            "cri-o" => (1, 34),
            _ => (u32::MAX, 0),
        };
        let newer = runtime.nri_version.is_some() || release(&runtime.version).is_some_and(|v| v >= first);
        if newer { self } else { Self(self.0 & ((1 << 11) - 1)) }
    }

    /// Whether every event of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// As Configure's answer carries it: bit (event - 1) for every event.
    pub(super) fn to_wire(self) -> i32 {
        // 14 bits: never negative.
        self.0.cast_signed()
    }
}

/// Major and minor of a version such as `1.7.24~ds1` or `v2.2.0-rc.1`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches('v').split(['.', '-', '+', '~']).map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

impl BitOr for Events {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Events {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_event_number_less_one() {
        assert_eq!(Events::RUN_POD_SANDBOX.to_wire(), 1);
        assert_eq!((Events::CREATE_CONTAINER | Events::POST_CREATE_CONTAINER).to_wire(), 0b1_1000);
        assert_eq!(Events::ALL.to_wire(), (1 << 14) - 1);
    }

    #[test]
    fn unknown_event_is_in_no_set() {
        assert!(!Events::ALL.has(Event::Unknown));
        assert!(Events::ALL.has(Event::ValidateContainerAdjustment));
    }

    #[test]
    fn old_runtime_is_not_asked_for_new_events() {
        let runtime = |name: &str, version: &str, nri_version: Option<&str>| RuntimeInfo {
            name: name.into(),
            version: version.into(),
            nri_version: nri_version.map(Into::into),
            ..RuntimeInfo::default()
        };
        let old = [
            ("containerd", "1.7.24~ds1"),
            ("containerd", "v2.1.9"),
            ("cri-o", "1.33.0"),
            ("x", "9.9"),
            ("", ""),
        ];
        for (name, version) in old {
            assert_eq!(
                Events::ALL.known_to(&runtime(name, version, None)).to_wire(),
                0x7ff,
                "{name} {version}"
            );
        }
        for (name, version) in [("containerd", "v2.2.0-rc.1"), ("cri-o", "1.34.0"), ("cri-o", "2.0.0")] {
            assert_eq!(Events::ALL.known_to(&runtime(name, version, None)), Events::ALL, "{name} {version}");
        }
        assert_eq!(Events::ALL.known_to(&runtime("x", "", Some("0.12.0"))), Events::ALL);
    }
}
