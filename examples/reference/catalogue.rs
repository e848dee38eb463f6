//! The downstream's catalogue: what a shop's page shows, made once from a fixed seed and asked for by key.

use serde_json::json;
use std::collections::HashMap;

/// How many customers there are; each has a basket.
pub(crate) const CUSTOMERS: u32 = 500;
/// How many groups of customers there are; each has its own offers.
const SEGMENTS: u32 = 12;
/// How many offers a page lists.
const OFFERS: u32 = 18;

const ADJECTIVES: [&str; 8] = [
    "Quiet", "Bright", "Sturdy", "Tiny", "Brass", "Folding", "Linen", "Northern",
];
const NOUNS: [&str; 8] = [
    "Lantern", "Kettle", "Compass", "Notebook", "Bell", "Anchor", "Chair", "Radio",
];

/// All entries by key, as JSON.
#[derive(Debug)]
pub(crate) struct Catalogue(HashMap<String, String>);

impl Catalogue {
    /// The same entries in every process.
    pub(crate) fn new() -> Self {
        let mut random = fastrand::Rng::with_seed(1_983);
        let mut entries = HashMap::new();
        for segment in 0..SEGMENTS {
            let offers: Vec<_> = (0..OFFERS).map(|_| article(&mut random)).collect();
            entries.insert(format!("offers:{segment}"), json!(offers).to_string());
        }
        for customer in 0..CUSTOMERS {
            let person = json!({
                "name": format!("Customer <{customer}>"),
                "segment": random.u32(..SEGMENTS),
                "points": random.u32(..5_000),
            });
            let basket: Vec<_> = (0..random.usize(1..6))
                .map(|_| article(&mut random))
                .collect();
            entries.insert(format!("customer:{customer}"), person.to_string());
            entries.insert(format!("basket:{customer}"), json!(basket).to_string());
        }
        Self(entries)
    }

    /// The entry of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

fn article(random: &mut fastrand::Rng) -> serde_json::Value {
    let (adjective, noun) = (random.choice(ADJECTIVES), random.choice(NOUNS));
    json!({
        "name": format!("{} {}", adjective.unwrap_or("Plain"), noun.unwrap_or("Box")),
        "cents": random.u32(199..19_999),
        "count": random.u32(1..4),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_customer_leads_to_a_basket_and_to_offers() {
        let catalogue = Catalogue::new();
        for customer in 0..CUSTOMERS {
            let person = catalogue
                .get(&format!("customer:{customer}"))
                .expect("a customer");
            let person: serde_json::Value = serde_json::from_str(person).expect("JSON");
            assert!(catalogue.get(&format!("basket:{customer}")).is_some());
            let offers = format!("offers:{}", person["segment"]);
            assert!(catalogue.get(&offers).is_some(), "{offers}");
        }
    }

    #[test]
    fn two_processes_have_the_same_entries() {
        assert_eq!(Catalogue::new().0, Catalogue::new().0);
    }
}
