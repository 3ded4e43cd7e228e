//! ID-2: no call is served whose caller's role the table does not allow. A worker asks what only managers may.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use shoal_identity::connect;
use shoal_identity::tls::Expected;
use shoal_proto::store::ReadIndexRequest;
use shoal_proto::store::store_client::StoreClient;

use crate::machines::PORT;
use crate::time::pass;
use crate::world::World;

const AGAIN: Duration = Duration::from_secs(7);
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks for as long as the run lasts.
pub async fn probe(world: Arc<World>) {
    let worker = &world.workers[0].node;
    let credentials = match worker.credentials() {
        Ok(credentials) => credentials,
        Err(error) => return world.checks.found("ID-1", format!("{error:#}")),
    };
    for manager in world.managers.iter().cycle() {
        pass(AGAIN).await;
        let address = SocketAddr::new(manager.node.host, PORT).to_string();
        let Ok(channel) = connect::channel(&credentials, &address, Expected::Manager) else {
            continue;
        };
        let ask = async { StoreClient::new(channel).read_index(ReadIndexRequest {}).await };
        let answer = tokio::select! {
            biased;
            answer = ask => answer,
            () = pass(PATIENCE) => continue,
        };
        if answer.is_ok() {
            let number = manager.node.number;
            world
                .checks
                .found("ID-2", format!("manager {number} serves managers' calls to a worker"));
        }
    }
}
