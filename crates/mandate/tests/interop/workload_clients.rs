//! SPIFFE libraries of other languages against the node's Workload API.

use serde_json::{Value, json};

use crate::python_program::PythonProgram;
use crate::registry::{NO_KEYS, apply, registry};
use crate::server::Server;

#[test]
fn an_agent_in_python_gets_its_identity_from_the_spiffe_library_and_its_default_grpc() {
    let Some(python) = PythonProgram::find() else { return };
    let mut server = Server::start();
    apply(&server, &registry(NO_KEYS, ""));
    let socket = server.start_node();
    let (_, spiffe_id) = server.svid(&socket);
    let found: Value =
        python.json("workload_api.py", &json!({ "socket": socket, "audience": server.issuer() }));
    assert_eq!((&found["spiffe_id"], &found["validated"]), (&json!(spiffe_id), &json!(spiffe_id)), "{found}");
    assert!(found["keys"].as_u64().unwrap() > 0, "{found}");
    // Everything that gRPC writes into `:authority`: its default, the path, the path percent-encoded, a host.
    assert_eq!(found["answers"].as_object().unwrap().len(), 4, "{found}");
}
