//! The table of routes and the handlers.

mod archive;
mod attach;
mod containers;
mod create;
mod exec;
mod images;
mod logs;
mod networks;
mod nodes;
mod refused;
mod registry;
mod secrets;
mod services;
mod shoal;
mod swarm;
mod system;
mod tasks;
mod volumes;

use http::Method;

use crate::router::Route;

macro_rules! table {
    ($($method:ident $pattern:literal $handler:path;)*) => {
        /// All routes; the first that fits is taken.
        pub(crate) static TABLE: &[Route] = &[
            $(Route {
                method: Method::$method,
                pattern: $pattern,
                handler: |ctx| Box::pin($handler(ctx)),
            },)*
        ];
    };
}

table! {
    HEAD "/_ping" system::ping;
    GET "/_ping" system::ping;
    GET "/version" system::version;
    GET "/info" system::info;
    GET "/events" system::events;
    GET "/system/df" system::disk_usage;
    POST "/auth" registry::auth;
    GET "/distribution/{name:.*}/json" registry::distribution;
    GET "/images/search" registry::search;

    GET "/containers/json" containers::list;
    POST "/containers/create" create::create;
    POST "/containers/prune" containers::prune;
    GET "/containers/{name}/json" containers::inspect;
    GET "/containers/{name}/top" containers::top;
    GET "/containers/{name}/logs" logs::logs;
    GET "/containers/{name}/changes" containers::changes;
    GET "/containers/{name}/export" archive::export;
    GET "/containers/{name}/stats" logs::stats;
    POST "/containers/{name}/resize" containers::resize;
    POST "/containers/{name}/start" containers::start;
    POST "/containers/{name}/stop" containers::stop;
    POST "/containers/{name}/restart" containers::restart;
    POST "/containers/{name}/kill" containers::kill;
    POST "/containers/{name}/update" containers::update;
    POST "/containers/{name}/rename" containers::rename;
    POST "/containers/{name}/pause" containers::pause;
    POST "/containers/{name}/unpause" containers::unpause;
    POST "/containers/{name}/attach" attach::attach;
    GET "/containers/{name}/attach/ws" attach::websocket;
    POST "/containers/{name}/wait" containers::wait;
    DELETE "/containers/{name}" containers::remove;
    HEAD "/containers/{name}/archive" archive::stat;
    GET "/containers/{name}/archive" archive::get;
    PUT "/containers/{name}/archive" archive::put;
    POST "/containers/{name}/exec" exec::create;
    POST "/exec/{name}/start" exec::start;
    POST "/exec/{name}/resize" exec::resize;
    GET "/exec/{name}/json" exec::inspect;
    GET "/containers/{name}/checkpoints" refused::checkpoints;
    POST "/containers/{name}/checkpoints" refused::checkpoints;
    DELETE "/containers/{name}/checkpoints/{checkpoint}" refused::checkpoints;
    POST "/commit" containers::commit;

    GET "/images/json" images::list;
    POST "/images/create" images::create;
    POST "/images/load" images::load;
    POST "/images/prune" images::prune;
    GET "/images/get" images::save;
    GET "/images/{name:.*}/get" images::save;
    GET "/images/{name:.*}/json" images::inspect;
    GET "/images/{name:.*}/history" images::history;
    GET "/images/{name:.*}/attestations" refused::attestations;
    POST "/images/{name:.*}/push" images::push;
    POST "/images/{name:.*}/tag" images::tag;
    DELETE "/images/{name:.*}" images::remove;

    GET "/volumes" volumes::list;
    POST "/volumes/create" volumes::create;
    POST "/volumes/prune" volumes::prune;
    GET "/volumes/{name}" volumes::inspect;
    PUT "/volumes/{name}" refused::not_a_manager;
    DELETE "/volumes/{name}" volumes::remove;

    GET "/networks" networks::list;
    GET "/networks/" networks::list;
    POST "/networks/create" networks::create;
    POST "/networks/prune" networks::prune;
    GET "/networks/{name:.*}" networks::inspect;
    DELETE "/networks/{name:.*}" networks::remove;
    POST "/networks/{name:.*}/connect" networks::connect;
    POST "/networks/{name:.*}/disconnect" networks::disconnect;

    POST "/build" refused::build;
    POST "/build/prune" refused::build_prune;
    POST "/build/cancel" refused::build;
    POST "/session" refused::buildkit;
    POST "/grpc" refused::buildkit;

    GET "/plugins" refused::plugins;
    GET "/plugins/privileges" refused::plugin;
    GET "/plugins/{name:.*}/json" refused::no_plugin;
    POST "/plugins/{name:.*}" refused::plugin;
    DELETE "/plugins/{name:.*}" refused::plugin;

    GET "/shoal/swarm/status" shoal::status;
    POST "/shoal/swarm/backup" shoal::backup;
    POST "/shoal/swarm/restore" shoal::restore;
    GET "/shoal/services/{name}/explain" shoal::explain;
    GET "/shoal/services/{name}/revisions" shoal::revisions;
    POST "/shoal/services/{name}/rollback" shoal::rollback;
    GET "/shoal/nodes/{name}/drain" shoal::drain;
    POST "/shoal/tasks/{name}/exec" exec::create_in_task;
    POST "/shoal/tasks/{name}/attach" tasks::attach;
    POST "/shoal/tasks/{name}/resize" tasks::resize;
    POST "/shoal/tasks/{name}/kill" tasks::kill;
    POST "/shoal/tasks/{name}/wait" tasks::wait;
    GET "/shoal/tasks/{name}/stats" tasks::stats;
    HEAD "/shoal/tasks/{name}/archive" tasks::stat;
    GET "/shoal/tasks/{name}/archive" tasks::get;
    PUT "/shoal/tasks/{name}/archive" tasks::put;
    POST "/shoal/tasks/{name}/forward" tasks::forward;
    POST "/swarm/init" swarm::init;
    POST "/swarm/join" swarm::join;
    POST "/swarm/leave" swarm::leave;
    POST "/swarm/update" swarm::update;
    POST "/swarm/unlock" swarm::unlock;
    GET "/swarm/unlockkey" swarm::unlock_key;
    GET "/swarm" swarm::inspect;
    GET "/nodes" nodes::list;
    GET "/nodes/{name}" nodes::inspect;
    POST "/nodes/{name}/update" nodes::update;
    DELETE "/nodes/{name}" nodes::remove;
    GET "/services" services::list;
    POST "/services/create" services::create;
    GET "/services/{name}" services::inspect;
    POST "/services/{name}/update" services::update;
    DELETE "/services/{name}" services::remove;
    GET "/services/{name}/logs" services::service_logs;
    GET "/tasks" services::tasks;
    GET "/tasks/{name}" services::task;
    GET "/tasks/{name}/logs" services::task_logs;
    GET "/secrets" secrets::list;
    POST "/secrets/create" secrets::create;
    GET "/secrets/{name}" secrets::inspect;
    POST "/secrets/{name}/update" secrets::update;
    DELETE "/secrets/{name}" secrets::remove;
    GET "/configs" secrets::list_configs;
    POST "/configs/create" secrets::create_config;
    GET "/configs/{name}" secrets::inspect_config;
    POST "/configs/{name}/update" secrets::update_config;
    DELETE "/configs/{name}" secrets::remove_config;
}
