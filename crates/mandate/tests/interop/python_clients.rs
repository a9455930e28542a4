//! `PyJWT`: the library with which an API in Python validates a token.

use serde_json::{Value, json};

use crate::python_program::PythonProgram;
use crate::registry::{CRM, NO_KEYS, SCOPE, apply, registry};
use crate::server::Server;

#[test]
fn pyjwt_accepts_an_access_token_where_it_is_addressed_and_nowhere_else() {
    let Some(python) = PythonProgram::find() else { return };
    let server = Server::start();
    apply(&server, &registry(NO_KEYS, ""));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let token = runtime.block_on(server.app().person_token("riley", Some(CRM), Some(SCOPE)));
    let input = |audience| json!({ "issuer": server.issuer(), "token": token, "audience": audience });

    let claims: Value = python.json("validate_access_token.py", &input(CRM));
    assert_eq!((&claims["aud"], &claims["scope"]), (&CRM.into(), &SCOPE.into()), "{claims}");
    let refused =
        python.run("validate_access_token.py", &[], &input("https://wiki.acme.example")).unwrap_err();
    assert!(refused.starts_with("InvalidAudienceError"), "{refused}");
}
