//! Which hash is computed when there is none to compare with.
//!
//! An unknown user, a locked one and a wrong password must cost the same, or the time tells which names exist. So the
//! password is then hashed against another entry of the same file and the result thrown away. Which entry depends on
//! the name that was asked for, so that on a site that has several schemes unknown names cost what its users cost, in
//! the same proportions, and each name always the same.

use zeroize::Zeroizing;

/// Picks one of the hashes that pass by, without remembering the others.
pub struct Decoy {
    seed: u64,
    best: Option<(u64, Zeroizing<String>)>,
}

impl Decoy {
    /// For the name a client asked for.
    pub fn new(user: &str) -> Decoy {
        Decoy { seed: fnv(0xcbf2_9ce4_8422_2325, user.as_bytes()), best: None }
    }

    /// Offers an entry of the file. `usable` is asked only when the entry would be taken.
    pub fn offer(&mut self, name: &[u8], hash: &str, usable: impl FnOnce(&str) -> bool) {
        let rank = fnv(self.seed, name);
        if self.best.as_ref().is_none_or(|(best, _)| rank < *best) && usable(hash) {
            self.best = Some((rank, Zeroizing::new(hash.to_owned())));
        }
    }

    /// The entry chosen; `None` if none was usable.
    pub fn hash(&self) -> Option<&str> {
        self.best.as_ref().map(|(_, hash)| hash.as_str())
    }
}

/// FNV-1a with a final mix: spreads names evenly, no more is needed.
fn fnv(seed: u64, octets: &[u8]) -> u64 {
    let hash = octets.iter().fold(seed, |hash, &c| (hash ^ u64::from(c)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(user: &str, skip: &str) -> String {
        let mut decoy = Decoy::new(user);
        for name in ["anna", "bert", "carl", "dora"] {
            decoy.offer(name.as_bytes(), name, |hash| hash != skip);
        }
        decoy.hash().unwrap().to_owned()
    }

    #[test]
    fn every_name_has_its_own_and_always_the_same() {
        let chosen: std::collections::BTreeSet<String> =
            (0..50).map(|n| choose(&format!("u{n}"), "")).collect();
        assert_eq!(chosen.len(), 4);
        assert_eq!(choose("nobody", ""), choose("nobody", ""));
        assert!((0..50).all(|n| choose(&format!("u{n}"), "bert") != "bert"));
        assert!(Decoy::new("x").hash().is_none());
    }
}
