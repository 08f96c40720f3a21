//! Routes that lead nowhere, for networks of virtual addresses: a connection that no program gives a backend ends on this
//! node, and does not leave by the default route.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::{
    Error, Handle, RouteMessageBuilder,
    packet_route::route::{RouteMessage, RouteType},
};

/// Makes the routes. One that is there already is left as it is.
pub async fn add(nets: &[IpNet]) {
    change(nets, true).await;
}

/// Takes them away.
pub async fn remove(nets: &[IpNet]) {
    change(nets, false).await;
}

async fn change(nets: &[IpNet], adds: bool) {
    if nets.is_empty() {
        return;
    }
    let (connection, handle, _) = match rtnetlink::new_connection() {
        Ok(parts) => parts,
        Err(error) => {
            tracing::error!("Routes of virtual addresses cannot be changed: {error}");
            return;
        }
    };
    let work = async {
        for net in nets {
            match one(&handle, net, adds).await {
                Ok(()) => tracing::info!(%net, adds, "Route of virtual addresses changed"),
                Err(error) => {
                    tracing::error!(%net, adds, "A route of virtual addresses cannot be changed: {error}");
                }
            }
        }
    };
    // The connection moves the messages while the work goes on.
    tokio::select! {
        () = connection => {}
        () = work => {}
    }
}

async fn one(handle: &Handle, net: &IpNet, adds: bool) -> Result<(), Error> {
    let Some(route) = route(net) else { return Ok(()) };
    let (done, harmless) = if adds {
        (handle.route().add(route).execute().await, libc::EEXIST)
    } else {
        (handle.route().del(route).execute().await, libc::ESRCH)
    };
    match done {
        Err(Error::NetlinkError(error)) if error.raw_code() == -harmless => Ok(()),
        other => other,
    }
}

fn route(net: &IpNet) -> Option<RouteMessage> {
    let builder =
        RouteMessageBuilder::<IpAddr>::new().destination_prefix(net.addr(), net.prefix_len()).ok()?;
    Some(builder.kind(RouteType::Unreachable).build())
}
