//! The `unix` attestor: what the kernel says about a process, its user, its group and its program.

use futures_util::future::{BoxFuture, FutureExt as _};
use mandate_core::{Selector, UnixSelector};

use super::attestor::Attestor;
use crate::caller::InspectedCaller;
use crate::entitlement::Entitlements;
use crate::process::NotAttested;
use crate::program::Digests;

/// The attestor, with the digests that it remembers.
#[derive(Default)]
pub(crate) struct Unix {
    digests: Digests,
}

impl Attestor for Unix {
    fn name(&self) -> &'static str {
        "unix"
    }

    fn attest<'a>(
        &'a self,
        process: &'a InspectedCaller<'a>,
        entitlements: &'a Entitlements,
    ) -> BoxFuture<'a, Result<Vec<Selector>, NotAttested>> {
        async move {
            let mut shown: Vec<Selector> = vec![UnixSelector::Uid(process.uid()).into()];
            shown.extend(process.gid().map(|gid| UnixSelector::Gid(gid).into()));
            if let Some(file) = process.program() {
                let path = process.path().and_then(|path| path.parse().ok());
                shown.extend(path.map(|path| UnixSelector::Path(path).into()));
                if entitlements.depend_on_digest(&shown) {
                    let digest = self.digests.of(process.pid(), file).await;
                    shown.extend(digest.map(|digest| UnixSelector::Sha256(Box::new(digest)).into()));
                }
            }
            Ok(shown)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use crate::attestors::Attestors;
    use crate::caller::Caller;
    use crate::entitlement::Entitlements;
    use crate::looks::Looks;
    use crate::namespace::Overflow;
    use mandate_api::proto::node::Entitlement;
    use mandate_core::{Selector, UnixSelector};
    use std::fs;
    use std::process::Command;
    use tokio::net::{UnixListener, UnixStream};

    /// What a caller shows where an entry requires this selector.
    async fn shown(caller: &Caller, required: &str) -> Vec<String> {
        let entry = Entitlement {
            spiffe_id: "spiffe://acme.example/agent/a".into(),
            selectors: vec![required.into()],
            name: "a".into(),
        };
        let entitlements = Entitlements::new(vec![entry], &"acme.example".parse().unwrap());
        Attestors::of_this_build().attest(caller, &entitlements).await.unwrap().texts()
    }

    fn me() -> (u32, u32) {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    #[tokio::test]
    async fn the_kernel_says_who_connected() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let (_client, accepted) = tokio::join!(UnixStream::connect(dir.path().join("s")), listener.accept());
        let caller = Caller::of(&accepted.unwrap().0, &Looks::default()).unwrap();
        let me = rustix::process::getuid().as_raw();
        assert_eq!((caller.pid(), caller.uid()), (std::process::id(), me));
        let exe = fs::read_link("/proc/self/exe").unwrap();
        assert_eq!(
            shown(&caller, "unix:uid:1").await,
            [
                format!("unix:uid:{me}"),
                format!("unix:gid:{}", rustix::process::getgid().as_raw()),
                format!("unix:path:{}", exe.display())
            ]
        );
    }

    #[tokio::test]
    async fn a_child_shows_user_group_path_and_digest() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let caller = Caller::of_child(&child).unwrap();
        let path = fs::read_link(format!("/proc/{}/exe", child.id())).unwrap();
        let digest = Selector::from(UnixSelector::Sha256(Box::new(mandate_core::digest::sha256(
            &fs::read(&path).unwrap(),
        ))))
        .to_string();
        assert_eq!(
            shown(&caller, &format!("unix:sha256:{}", "0".repeat(64))).await,
            [
                format!("unix:uid:{}", me().0),
                format!("unix:gid:{}", me().1),
                format!("unix:path:{}", path.display()),
                digest
            ]
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_group_without_a_number_here_is_not_attested() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (uid, gid) = me();
        let caller = Caller::new(child.id(), uid, gid, Overflow::of(65_534, gid), &Looks::default()).unwrap();
        let found = shown(&caller, "unix:uid:1").await;
        assert_eq!(found[0], format!("unix:uid:{uid}"));
        assert!(!found.iter().any(|selector| selector.starts_with("unix:gid:")), "{found:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
