//! Rules that another program flushed come back by themselves.

use std::sync::{Arc, Weak};
use std::time::Duration;

use shoal_base::blocking;
use shoal_base::tasks::TaskKind;

use super::Inner;
use super::host::mesh_table;
use crate::error::Error;
use crate::kernel::nft::Touched;
use crate::kernel::socket::Socket;
use crate::kernel::watch::Watch;

/// A flush comes as many notifications: one repair for all of them.
const SETTLE: Duration = Duration::from_millis(20);

/// Watches until the program stops or the networks are dropped.
pub(super) fn keep(inner: &Arc<Inner>, socket: Socket) -> Result<(), Error> {
    let own = inner.host.table_ports()?;
    let table = inner.settings.table.clone();
    let tables = vec![mesh_table(&table), table];
    let watch = Watch::new(socket, tables).map_err(Error::OpenHost)?;
    let weak = Arc::downgrade(inner);
    let clock = inner.ports.clock.clone();
    inner.ports.tasks.spawn(TaskKind::NetworkRepair, async move {
        loop {
            let touched = match watch.changed(&own).await {
                Ok(touched) => touched,
                Err(error) => {
                    let error = shoal_model::error::Chain(&error).to_string();
                    tracing::error!(error, "changes of nftables are no longer watched");
                    return;
                }
            };
            clock.sleep(SETTLE).await;
            if !repair(&weak, touched).await {
                return;
            }
        }
    });
    Ok(())
}

/// `false`: the networks are gone.
async fn repair(weak: &Weak<Inner>, touched: Touched) -> bool {
    let Some(inner) = weak.upgrade() else { return false };
    let repaired = blocking::run("repair rules", move || match touched {
        Touched::Own => inner.repair_all(),
        Touched::Foreign => inner.repair_admission(),
    })
    .await;
    match repaired {
        Ok(Ok(0)) => {}
        Ok(Ok(changes)) => tracing::info!(changes, "rules changed by another program restored"),
        Ok(Err(error)) => {
            let error = shoal_model::error::Chain(&error).to_string();
            tracing::warn!(error, "rules changed by another program not restored");
        }
        Err(_) => return false,
    }
    true
}
