//! HTTP, and nothing but: which request is which use case, and how its result looks on the wire.
//!
//! | file | idea |
//! | --- | --- |
//! | `router`, `state`, `serve` | the routes with their layers, what handlers know, the accept loop |
//! | `middleware` | what happens to every request around its handler |
//! | `extract` | requests as values |
//! | `accept`, `answer`, `error` | the forms of answers: which one, results, errors |
//! | `caching` | what a client may keep |
//! | `map_file` | a map as one binary file |
//! | `explorer` | the page at `/` |
//! | `query` | queries as several routes take them, and hits |
//! | `results` | what the routes share that make one result of each image |
//! | `routes` | one file for each resource |
//! | `compat` | dialects of existing clients |
//! | `openapi`, `schema` | the OpenAPI document, collected from the routes |

mod accept;
mod answer;
mod caching;
mod compat;
mod error;
mod explorer;
mod extract;
mod map_file;
mod middleware;
mod openapi;
mod query;
mod results;
mod router;
mod routes;
mod schema;
mod serve;
mod state;

pub use axum::Router;
pub use openapi::openapi;
pub use router::router;
pub use serve::serve;
pub use state::AppState;
