//! Small ids whose `Display` is their name in every dump, and the tables they
//! index.
//!
//! An id is only meaningful for the structure that gave it out; the same thing
//! has the same id in every text form.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// A name that is a number: `layer3`, `wt12`, `pe5`.
pub trait Entity: Copy + Ord + fmt::Display {
    /// The id with this number.
    fn from_index(index: usize) -> Self;
    /// The number.
    fn index(self) -> usize;
}

macro_rules! entity {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl Entity for $name {
            fn from_index(index: usize) -> Self {
                // Tables never grow past 2^32 things: every input is limited
                // far below that.
                Self(u32::try_from(index).unwrap_or(u32::MAX))
            }

            fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // `pad` so that tables can align ids.
                f.pad(&format!(concat!($prefix, "{}"), self.0))
            }
        }
    };
}

entity!(
    /// A layer of the graph, crossbar or digital.
    LayerId,
    "layer"
);
entity!(
    /// A tensor of the graph: what flows between layers.
    TensorId,
    "t"
);
entity!(
    /// The piece of a layer's matrix that sits in one place of one PE.
    WeightTileId,
    "wt"
);
entity!(
    /// One array with its periphery.
    PeId,
    "pe"
);
entity!(
    /// One step of an execution plan.
    StepId,
    "step"
);

/// A vector indexed by an id; the id is the position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table<K, V> {
    items: Vec<V>,
    key: PhantomData<K>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { items: Vec::new(), key: PhantomData }
    }
}

impl<K: Entity, V> Table<K, V> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a thing and returns its id.
    pub fn push(&mut self, value: V) -> K {
        let key = K::from_index(self.items.len());
        self.items.push(value);
        key
    }

    /// The thing with this id, if the table has it.
    pub fn get(&self, key: K) -> Option<&V> {
        self.items.get(key.index())
    }

    /// How many things there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Ids and things, in order of ids.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &V)> + ExactSizeIterator {
        self.items.iter().enumerate().map(|(index, value)| (K::from_index(index), value))
    }

    /// Ids, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = K> + ExactSizeIterator + use<K, V> {
        (0..self.items.len()).map(K::from_index)
    }

    /// Things, in order of ids.
    pub fn values(&self) -> std::slice::Iter<'_, V> {
        self.items.iter()
    }

    /// Things, in order of ids, to be changed.
    pub fn values_mut(&mut self) -> std::slice::IterMut<'_, V> {
        self.items.iter_mut()
    }
}

impl<K: Entity, V> FromIterator<V> for Table<K, V> {
    fn from_iter<I: IntoIterator<Item = V>>(iter: I) -> Self {
        Self { items: iter.into_iter().collect(), key: PhantomData }
    }
}

impl<K: Entity, V> Index<K> for Table<K, V> {
    type Output = V;

    fn index(&self, key: K) -> &V {
        &self.items[key.index()]
    }
}

impl<K: Entity, V> IndexMut<K> for Table<K, V> {
    fn index_mut(&mut self, key: K) -> &mut V {
        &mut self.items[key.index()]
    }
}
