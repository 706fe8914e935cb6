//! The set of events that a plugin wants.

use std::ops::{BitOr, BitOrAssign};

use super::api::Event;

/// A set of NRI events. Combine them with `|`.
///
/// ```
/// use strict_groups::nri::Events;
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
    UPDATE_POD_SANDBOX = UpdatePodSandbox, "A pod's resources are about to be changed. Since NRI 0.9.";
    POST_UPDATE_POD_SANDBOX = PostUpdatePodSandbox, "A pod's resources were changed. Since NRI 0.9.";
    VALIDATE_CONTAINER_ADJUSTMENT = ValidateContainerAdjustment,
        "What all plugins together want to adjust; the plugin may reject it. Since NRI 0.10.";
}

impl Events {
    /// No event at all. (On the wire an empty set means all events: they are then answered, not handled.)
    pub const NONE: Self = Self(0);

    const fn of(event: Event) -> Self {
        Self(1 << (event as u32 - 1))
    }

    /// The set with the one event, empty for a number that NRI has no event for.
    pub(super) fn of_wire(event: i32) -> Self {
        match Event::try_from(event) {
            Ok(Event::Unknown) | Err(_) => Self::NONE,
            Ok(event) => Self::of(event),
        }
    }

    /// Whether every event of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The events that are in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// As Configure's answer carries it: bit (event - 1) for every event.
    pub(super) fn to_wire(self) -> i32 {
        // 14 bits: never negative.
        self.0.cast_signed()
    }
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
    fn unknown_numbers_are_no_event() {
        for event in [i32::MIN, -1, 0, 15, i32::MAX] {
            assert_eq!(Events::of_wire(event), Events::NONE);
        }
        assert_eq!(Events::of_wire(4), Events::CREATE_CONTAINER);
    }
}
