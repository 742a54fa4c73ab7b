//! Metric names with what follows them in a row, escaped once.

use xxhash_rust::xxh3::xxh3_64;

use crate::record::json_string::push_escaped;

/// Places for names; a run with more names still works, a new one takes the place of another.
const PLACES: usize = 1 << 15;
/// Places that a name may have: the first free one from where its hash points to, all within two cache lines. With one
/// alone, a quarter of 10,000 names would push each other out again and again.
const CHOICES: usize = 16;
/// Longer names are escaped each time, so that the memory stays within a few MiB.
const MAX_NAME_BYTES: usize = 128;
/// What follows the name in a row.
const AFTER: &[u8] = b"\",\"value\":";

#[derive(Debug, Default)]
struct Entry {
    /// The name, escaped, and [`AFTER`]; empty in the first entry, which stands for no name.
    escaped: Box<[u8]>,
    /// The name, if escaping changes it.
    name: Option<Box<str>>,
    /// The entry that followed this one the last time.
    next: u32,
}

impl Entry {
    fn new(name: &str) -> Self {
        let mut escaped = Vec::with_capacity(name.len() + AFTER.len());
        push_escaped(&mut escaped, name);
        let differs = escaped != name.as_bytes();
        escaped.extend_from_slice(AFTER);
        Self { escaped: escaped.into(), name: differs.then(|| name.into()), next: 0 }
    }

    #[inline]
    fn is(&self, name: &str) -> bool {
        match &self.name {
            None => self.escaped.split_last_chunk::<{ AFTER.len() }>().is_some_and(|(own, _)| own == name.as_bytes()),
            Some(own) => **own == *name,
        }
    }
}

/// Gives `name","value":` with the name escaped.
///
/// Calls repeat their names in the same order, so the entry that followed the last one is tried before anything is hashed.
#[derive(Debug)]
pub(super) struct NameCache {
    entries: Vec<Entry>,
    /// For each place the number of its entry; 0 for none.
    places: Vec<u32>,
    last: u32,
    long: Vec<u8>,
}

impl NameCache {
    /// A cache that never grows: the thread that fills it takes no lock of the heap on which its maker allocates, so that a
    /// `clone` without fork hooks, which no allocator prepares for, cannot copy such a lock while it is held. Memory that
    /// no name needs is reserved, not touched.
    pub(super) fn new() -> Self {
        let mut entries = Vec::with_capacity(PLACES + 1);
        entries.push(Entry::default());
        Self { entries, places: vec![0; PLACES], last: 0, long: Vec::new() }
    }

    #[inline]
    pub(super) fn get(&mut self, name: &str) -> &[u8] {
        let next = self.entries[self.last as usize].next;
        let found = if next != 0 && self.entries[next as usize].is(name) {
            next
        } else if name.len() > MAX_NAME_BYTES {
            return self.escape_long(name);
        } else {
            self.find(name)
        };
        self.last = found;
        &self.entries[found as usize].escaped
    }

    fn find(&mut self, name: &str) -> u32 {
        let wanted = xxh3_64(name.as_bytes()) as usize % PLACES;
        let known = (wanted..wanted + CHOICES).find_map(|place| match self.places[place % PLACES] {
            0 => Some(self.insert(name, place % PLACES)),
            found => self.entries[found as usize].is(name).then_some(found),
        });
        let found = known.unwrap_or_else(|| self.replace(name, wanted));
        self.entries[self.last as usize].next = found;
        found
    }

    #[cold]
    fn insert(&mut self, name: &str, place: usize) -> u32 {
        let found = self.entries.len() as u32;
        self.places[place] = found;
        self.entries.push(Entry::new(name));
        found
    }

    #[cold]
    fn replace(&mut self, name: &str, place: usize) -> u32 {
        let found = self.places[place];
        self.entries[found as usize] = Entry::new(name);
        found
    }

    #[cold]
    fn escape_long(&mut self, name: &str) -> &[u8] {
        self.long.clear();
        push_escaped(&mut self.long, name);
        self.long.extend_from_slice(AFTER);
        &self.long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        push_escaped(&mut out, name);
        out.extend_from_slice(AFTER);
        out
    }

    #[test]
    fn more_names_than_places_are_all_right_and_the_memory_is_bounded() {
        let mut cache = NameCache::new();
        for round in 0..3 {
            for number in 0..3 * PLACES {
                let name = if number % 1000 == 0 { String::new() } else { format!("layer/{number}/\"w\"") };
                assert_eq!(cache.get(&name), expected(&name), "round {round}");
            }
        }
        assert!(cache.entries.len() <= PLACES + 1);
    }

    #[test]
    fn long_names_between_short_ones_are_not_kept() {
        let mut cache = NameCache::new();
        let long = "é".repeat(200);
        for name in ["a", &long, "b", "a", &long, "b", "", "a"] {
            assert_eq!(cache.get(name), expected(name));
        }
        assert_eq!(cache.entries.len(), 4);
    }
}
