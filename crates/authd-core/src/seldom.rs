//! Room for what an account seldom has: none until it has it.
//!
//! Nearly every account is simply fine, and there can be ten thousand of them. What says that one is not
//! is held apart, and reads as blank where there is none.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What has a blank: a value that says nothing.
pub trait Blank: Default + PartialEq + 'static {
    /// It, for everybody to read. Equal to the default.
    const BLANK: &'static Self;
}

/// A value that is nearly always blank, and then takes no memory. Serialised as the value itself.
///
/// Reached for a change, it takes memory, be it made blank: [`Seldom::tidy`] gives that back, and so
/// does a copy.
pub struct Seldom<T>(Option<Box<T>>);

impl<T: Blank> Seldom<T> {
    /// Gives back the memory of what has become blank.
    pub fn tidy(&mut self) {
        self.0.take_if(|value| **value == *T::BLANK);
    }

    /// Whether [`Seldom::tidy`] would give something back.
    #[must_use]
    pub fn is_untidy(&self) -> bool {
        self.0.as_deref() == Some(T::BLANK)
    }
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Blank> From<T> for Seldom<T> {
    fn from(value: T) -> Self {
        Self((value != *T::BLANK).then(|| Box::new(value)))
    }
}

impl<T: Blank> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::BLANK)
    }
}

impl<T: Blank> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Blank + Clone> Clone for Seldom<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone().filter(|value| **value != *T::BLANK))
    }
}

impl<T: Blank> PartialEq for Seldom<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Blank + Eq> Eq for Seldom<T> {}

impl<T: Blank + fmt::Debug> fmt::Debug for Seldom<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Blank + Serialize> Serialize for Seldom<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Blank + Deserialize<'de>> Deserialize<'de> for Seldom<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        flag::{Ambiguity, Flags, Raised},
        time::Wall,
    };

    fn raised() -> Option<Raised<Ambiguity>> {
        let (reason, since) = (Ambiguity::Gateway, Wall(1));
        Some(Raised { reason, since })
    }

    #[test]
    fn what_is_blank_takes_no_memory_once_it_is_tidy_copied_or_read() {
        let mut flags = Seldom::<Flags>::default();
        assert_eq!((flags.0.is_none(), flags.ambiguous.is_none()), (true, true));
        flags.ambiguous = None;
        assert!(flags.is_untidy());
        assert_eq!(flags, Seldom::default());
        assert!(flags.clone().0.is_none());
        let text = serde_json::to_string(&flags).unwrap();
        assert!(
            serde_json::from_str::<Seldom<Flags>>(&text)
                .unwrap()
                .0
                .is_none()
        );
        flags.tidy();
        assert!(flags.0.is_none() && !flags.is_untidy());
    }

    #[test]
    fn what_is_not_stays_and_is_serialised_as_if_it_were_bare() {
        let bare = Flags {
            ambiguous: raised(),
            ..Flags::default()
        };
        let mut flags = Seldom::from(bare.clone());
        flags.tidy();
        assert_eq!((&*flags, &*flags.clone()), (&bare, &bare));
        assert_ne!(flags, Seldom::default());
        let text = serde_json::to_string(&flags).unwrap();
        assert_eq!(text, serde_json::to_string(&bare).unwrap());
        assert_eq!(serde_json::from_str::<Seldom<Flags>>(&text).unwrap(), flags);
    }

    #[test]
    fn a_blank_is_the_default() {
        assert_eq!(*Flags::BLANK, Flags::default());
    }
}
