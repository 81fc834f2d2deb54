//! Where what was just made is shown again.

use super::client_view::{ClientView, Created};
use super::deployments::DeploymentView;
use super::key_import::ImportView;
use super::revocations::RevocationView;

/// A view of something with a path of its own.
pub trait Placed {
    /// The segments of that path below the admin API, not yet encoded.
    fn place(&self) -> Vec<&str>;
}

impl Placed for Created<ClientView> {
    fn place(&self) -> Vec<&str> {
        vec!["clients", self.view.client_id.as_str()]
    }
}

impl Placed for DeploymentView {
    fn place(&self) -> Vec<&str> {
        vec!["deployments", self.id.as_str()]
    }
}

impl Placed for ImportView {
    fn place(&self) -> Vec<&str> {
        vec!["keys", self.kid().as_str()]
    }
}

impl Placed for RevocationView {
    fn place(&self) -> Vec<&str> {
        vec!["revocations", self.kind, &self.id]
    }
}
