//! The keys of clients that sign assertions, read once per version of the client: kept beside the very record that the
//! cache of clients holds, so that a changed client never meets its old keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::keys::client_keys::ClientKeys;
use crate::model::client::Client;
use crate::model::id::ClientId;

/// How many clients' keys are kept.
const CAPACITY: usize = 4096;

/// A version of a client, and its keys.
type Known = (Weak<Client>, Arc<ClientKeys>);

/// The memory.
#[derive(Default)]
pub struct RegisteredKeys(Mutex<HashMap<ClientId, Known>>);

impl RegisteredKeys {
    /// The keys of this version of a client.
    #[must_use]
    pub fn of(&self, client: &Arc<Client>) -> Arc<ClientKeys> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, keys)) = known.get(&client.client_id)
            && std::ptr::eq(of.as_ptr(), Arc::as_ptr(client))
        {
            return Arc::clone(keys);
        }
        if known.len() >= CAPACITY {
            known.retain(|_, (of, _)| of.strong_count() > 0);
        }
        if known.len() >= CAPACITY {
            // Rare, and any choice is right: the one thrown out costs its owner a reading.
            let victim = known.keys().next().cloned();
            victim.and_then(|victim| known.remove(&victim));
        }
        let keys = Arc::new(ClientKeys::of(client.jwks.as_ref()));
        known.insert(client.client_id.clone(), (Arc::downgrade(client), Arc::clone(&keys)));
        keys
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::time::Timestamp;

    fn client(id: &str, x: Option<&str>) -> Arc<Client> {
        let mut client = Client::new(ClientId::parse(id).unwrap(), Timestamp::default());
        client.jwks = x.map(|x| json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x }] }));
        Arc::new(client)
    }

    #[test]
    fn keys_are_read_once_per_version_of_a_client() {
        let known = RegisteredKeys::default();
        let first = client("a", Some("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"));
        let keys = known.of(&first);
        assert!(Arc::ptr_eq(&keys, &known.of(&first)));
        let changed = client("a", None);
        assert!(!Arc::ptr_eq(&keys, &known.of(&changed)), "another version");
        assert_eq!(format!("{:?}", known.of(&changed)), "[]");
    }

    #[test]
    fn the_memory_is_bounded() {
        let known = RegisteredKeys::default();
        let held: Vec<_> = (0..CAPACITY + 10).map(|n| client(&format!("c{n}"), None)).collect();
        for client in &held {
            let _ = known.of(client);
        }
        assert_eq!(known.0.lock().unwrap().len(), CAPACITY);
        drop(held);
        let _ = known.of(&client("one-more", None));
        assert_eq!(known.0.lock().unwrap().len(), 1, "those of clients no longer in use go first");
    }
}
