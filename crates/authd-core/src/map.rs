//! A map for the few entries that one account has of anything.
//!
//! Nearly every account has one access token, and an account may have no more than
//! [`MOST_LEASES`](crate::policy::MOST_LEASES). A `BTreeMap` makes room for eleven entries with the
//! first; here there is room for exactly those that are in it. Searching is a bisection, and each
//! insertion moves what is there: to be used only where that is little.
//!
//! Vectors, and the maps that crates build on them, make room for four entries with the first; of ten
//! thousand accounts that is four times what they need.

use std::{fmt, marker::PhantomData, mem, ops::Index};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

/// Entries sorted by key, each key once. Serialised as a map.
#[derive(Clone, PartialEq, Eq)]
pub struct SmallMap<K, V>(Box<[(K, V)]>);

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> SmallMap<K, V> {
    /// Without an entry; takes no memory.
    #[must_use]
    pub fn new() -> Self {
        Self(Box::default())
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// All values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// All values to be changed, in the order of their keys.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Keeps the entries for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        let mut entries = mem::take(&mut self.0).into_vec();
        entries.retain_mut(|(key, value)| keep(key, value));
        self.0 = entries.into_boxed_slice();
    }
}

impl<K: Ord, V> SmallMap<K, V> {
    fn find(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| held.cmp(key))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        let at = self.find(key).ok()?;
        Some(&self.0[at].1)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.find(key).ok()?;
        Some(&mut self.0[at].1)
    }

    /// Whether there is an entry of that key.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// Gives a key a value; returns the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok(at) => Some(mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.insert_at(at, key, value);
                None
            }
        }
    }

    /// The value of a key, which gets the default one if it has none.
    pub fn get_or_default(&mut self, key: &K) -> &mut V
    where
        K: Clone,
        V: Default,
    {
        let at = self.find(key).unwrap_or_else(|at| {
            self.insert_at(at, key.clone(), V::default());
            at
        });
        &mut self.0[at].1
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key).ok()?;
        let mut entries = mem::take(&mut self.0).into_vec();
        let (_, value) = entries.remove(at);
        self.0 = entries.into_boxed_slice();
        Some(value)
    }

    fn insert_at(&mut self, at: usize, key: K, value: V) {
        let mut entries = mem::take(&mut self.0).into_vec();
        entries.reserve_exact(1);
        entries.insert(at, (key, value));
        self.0 = entries.into_boxed_slice();
    }
}

impl<K: Ord, V> Index<&K> for SmallMap<K, V> {
    type Output = V;

    /// The value of a key that is known to be there.
    ///
    /// # Panics
    /// When it is not.
    fn index(&self, key: &K) -> &V {
        self.get(key).expect("no entry of that key")
    }
}

/// The entries of a [`SmallMap`].
pub type Iter<'a, K, V> =
    std::iter::Map<std::slice::Iter<'a, (K, V)>, fn(&'a (K, V)) -> (&'a K, &'a V)>;

impl<'a, K, V> IntoIterator for &'a SmallMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K, V> IntoIterator for SmallMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

/// Of several entries with the same key the last one counts.
impl<K: Ord, V> FromIterator<(K, V)> for SmallMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for SmallMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SmallMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Serialize, V: Serialize> Serialize for SmallMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for SmallMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<K, V>(PhantomData<(K, V)>);

        impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
            type Value = SmallMap<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut map = SmallMap::new();
                while let Some((key, value)) = entries.next_entry()? {
                    map.insert(key, value);
                }
                Ok(map)
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u8),
        Remove(u8),
        Default(u8),
        Change(u8, u8),
        Retain(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = 0..12u8;
        prop_oneof![
            3 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
            1 => key.clone().prop_map(Step::Remove),
            1 => key.clone().prop_map(Step::Default),
            1 => (key, any::<u8>()).prop_map(|(key, value)| Step::Change(key, value)),
            1 => (1..5u8).prop_map(Step::Retain),
        ]
    }

    proptest! {
        #[test]
        fn it_does_what_a_tree_does(steps in prop::collection::vec(step(), 0..40)) {
            let mut map = SmallMap::new();
            let mut tree = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(key, value) => {
                        prop_assert_eq!(map.insert(key, value), tree.insert(key, value));
                    }
                    Step::Remove(key) => prop_assert_eq!(map.remove(&key), tree.remove(&key)),
                    Step::Default(key) => {
                        let value = tree.entry(key).or_default();
                        prop_assert_eq!(map.get_or_default(&key), value);
                    }
                    Step::Change(key, value) => {
                        if let Some(held) = map.get_mut(&key) {
                            *held = value;
                        }
                        if let Some(held) = tree.get_mut(&key) {
                            *held = value;
                        }
                        map.values_mut().for_each(|held| *held = held.wrapping_add(1));
                        tree.values_mut().for_each(|held| *held = held.wrapping_add(1));
                    }
                    Step::Retain(divisor) => {
                        map.retain(|key, value| (*key ^ *value) % divisor == 0);
                        tree.retain(|key, value| (*key ^ *value) % divisor == 0);
                    }
                }
                prop_assert!(map.iter().eq(&tree));
                prop_assert!(map.keys().eq(tree.keys()) && map.values().eq(tree.values()));
                prop_assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
                for key in 0..12 {
                    prop_assert_eq!(map.get(&key), tree.get(&key));
                    prop_assert_eq!(map.contains_key(&key), tree.contains_key(&key));
                    if tree.contains_key(&key) {
                        prop_assert_eq!(map[&key], tree[&key]);
                    }
                }
            }
            let collected: SmallMap<_, _> = tree.clone().into_iter().rev().collect();
            prop_assert_eq!(&collected, &map);
            prop_assert_eq!(format!("{map:?}"), format!("{tree:?}"));
            prop_assert!(map.into_iter().eq(tree));
        }

        #[test]
        fn it_is_written_and_read_as_a_tree_is(tree in any::<BTreeMap<String, u16>>()) {
            let map: SmallMap<_, _> = tree.clone().into_iter().collect();
            let text = serde_json::to_string(&map).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string(&tree).unwrap());
            prop_assert_eq!(serde_json::from_str::<SmallMap<String, u16>>(&text).unwrap(), map);
        }
    }

    #[test]
    fn what_is_no_map_is_refused_and_the_last_of_a_key_counts() {
        assert!(serde_json::from_str::<SmallMap<String, u8>>("[1]").is_err());
        let map: SmallMap<String, u8> = serde_json::from_str(r#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(map, SmallMap::from([("a".into(), 3), ("b".into(), 2)]));
    }
}
