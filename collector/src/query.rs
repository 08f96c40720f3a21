//! What other programs ask over gRPC.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use rampart_proto::v1::{
    self, ListAlertsRequest, ListAlertsResponse, ListNodesRequest, ListNodesResponse, StoredAlert,
    WatchAlertsRequest, WatchAlertsResponse, query_service_server::QueryService, watch_alerts_response,
};
use tokio::sync::broadcast::error::RecvError;
use tonic::{Request, Response, Status};

use crate::{
    alert::{Filter, Kinds, Needle, NoKind, Priority, Stored, TEXT_MAX},
    ingest::now_ns,
    views::{PAGE, PAGE_MAX, ViewError, Views},
};

/// The service.
#[derive(Clone, Debug)]
pub struct Query {
    /// What it reads.
    pub views: Arc<Views>,
}

#[tonic::async_trait]
impl QueryService for Query {
    type WatchAlertsStream = Pin<Box<dyn Stream<Item = Result<WatchAlertsResponse, Status>> + Send>>;

    async fn list_alerts(
        &self,
        request: Request<ListAlertsRequest>,
    ) -> Result<Response<ListAlertsResponse>, Status> {
        let request = request.into_inner();
        let filter = filter_of(request.filter)?;
        let limit = match request.limit as usize {
            0 => PAGE,
            limit => limit.min(PAGE_MAX),
        };
        let before = (request.before > 0).then_some(request.before);
        let (alerts, next) =
            self.views.alerts(filter, limit, before).await.map_err(|error| failed(&error))?;
        let alerts = alerts.iter().map(to_proto).collect();
        Ok(Response::new(ListAlertsResponse { alerts, next: next.unwrap_or(0) }))
    }

    async fn watch_alerts(
        &self,
        request: Request<WatchAlertsRequest>,
    ) -> Result<Response<Self::WatchAlertsStream>, Status> {
        let filter = filter_of(request.into_inner().filter)?;
        let (feed, metrics) = (self.views.ingest.watch(), Arc::clone(&self.views.metrics));
        let stop = self.views.stop.clone();
        let stream = stream::unfold((feed, stop), move |(mut feed, mut stop)| {
            let (filter, metrics) = (filter.clone(), Arc::clone(&metrics));
            async move {
                loop {
                    let heard = tokio::select! {
                        heard = feed.recv() => heard,
                        _ = stop.wait_for(|stop| *stop) => return None,
                    };
                    let kind = match heard {
                        Ok(stored) if filter.accepts(&stored.node, &stored.alert) => {
                            watch_alerts_response::Kind::Alert(to_proto(&stored))
                        }
                        Ok(_) => continue,
                        Err(RecvError::Lagged(missed)) => {
                            metrics.feed_missed.inc_by(missed);
                            watch_alerts_response::Kind::Missed(missed)
                        }
                        Err(RecvError::Closed) => return None,
                    };
                    return Some((Ok(WatchAlertsResponse { kind: Some(kind) }), (feed, stop)));
                }
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn list_nodes(
        &self,
        _request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        let now = now_ns();
        let nodes = self.views.nodes().await.map_err(|error| failed(&error))?;
        let nodes = nodes.into_iter().map(|view| {
            let (node, beat) = (view.node.unwrap_or_default(), view.beat.unwrap_or_default());
            v1::Node {
                is_active: node.is_active(now),
                name: view.name,
                seen_ns: node.seen_ns.max(view.totals.received_ns),
                version: node.version,
                kernel: node.kernel,
                policy_digest: beat.policy_digest,
                spool_pending: beat.spool_pending,
                alerts: view.totals.stored,
            }
        });
        Ok(Response::new(ListNodesResponse { nodes: nodes.collect() }))
    }
}

fn failed(error: &ViewError) -> Status {
    tracing::error!("A question cannot be answered: {error}");
    Status::unavailable("the store does not work at the moment")
}

fn filter_of(filter: Option<v1::AlertFilter>) -> Result<Filter, Status> {
    let filter = filter.unwrap_or_default();
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    let time = |time: u64| match i64::try_from(time) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(time)),
        Err(_) => Err(Status::invalid_argument("a time is too large")),
    };
    let priority = match filter.priority {
        0 => None,
        number => {
            let known = u8::try_from(i64::from(number) - 1).ok().and_then(Priority::of);
            Some(known.ok_or_else(|| Status::invalid_argument("no such priority"))?)
        }
    };
    if filter.text.len() > TEXT_MAX {
        return Err(Status::invalid_argument(format!("`text` must not be longer than {TEXT_MAX} bytes")));
    }
    let kinds = match filter.kinds.as_slice() {
        [] => Kinds::default(),
        kinds => {
            kinds.join(",").parse().map_err(|error: NoKind| Status::invalid_argument(error.to_string()))?
        }
    };
    Ok(Filter {
        node: text(filter.node),
        rule: text(filter.rule),
        priority,
        source: text(filter.source),
        since_ns: time(filter.since_ns)?,
        until_ns: time(filter.until_ns)?,
        kinds,
        text: text(filter.text).as_deref().map(Needle::new),
        above: None,
    })
}

fn to_proto(stored: &Stored) -> StoredAlert {
    let alert = &stored.alert;
    let (boot, cpu, sequence) = (alert.id.boot.to_vec(), alert.id.cpu, alert.id.sequence);
    StoredAlert {
        number: stored.number,
        node: stored.node.to_string(),
        received_ns: stored.received_ns,
        alert: Some(v1::Alert {
            id: Some(v1::AlertId { boot, cpu, sequence }),
            time_ns: alert.time_ns,
            priority: i32::from(alert.priority as u8) + 1,
            rule: alert.rule.clone(),
            source: alert.source.clone(),
            // They are in the JSON form.
            tags: Vec::new(),
            json: alert.json.clone(),
        }),
    }
}
