//! Who and what the story is about.

use std::path::Path;

/// The case whose mail hides the orders.
pub(super) const CASE: u32 = 3;
pub(super) const CLIENT: &str = "support-app";
pub(super) const CALLBACK: &str = "http://127.0.0.1:9200/callback";
pub(super) const AGENT: &str = "support-agent";

/// The story's registry. The agent is any process of this user that runs this program.
pub(super) fn registry(crm: &str, program: &Path, uid: u32) -> String {
    let program = program.display();
    format!(
        r#"[[resource]]
name   = "crm"
uri    = "{crm}"
scopes = ["read:cases", "write:case_comments", "write:opportunities", "send:mail"]
tools  = [
  {{ name = "close_opportunity", scope = "write:opportunities", destructive = true }},
  {{ name = "send_mail", scope = "send:mail", egress = true }},
]

[[person]]
name = "riley"
may  = [{{ resource = "crm", scopes = ["read:cases", "write:case_comments", "write:opportunities", "send:mail"] }}]

[[agent]]
name      = "{AGENT}"
owner     = "riley"
purpose   = "Works on support cases"
selectors = ["unix:uid:{uid}", "unix:path:{program}"]
ceiling   = [{{ resource = "crm", scopes = ["read:cases", "write:case_comments"] }}]

[[grant]]
person   = "riley"
agent    = "{AGENT}"
resource = "crm"
scopes   = ["read:cases", "write:case_comments"]
expires  = "1h"
max_uses = 500

[[client]]
id            = "{CLIENT}"
redirect_uris = ["{CALLBACK}"]
"#
    )
}
