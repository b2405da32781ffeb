//! The page with the keys, and the activity.

use std::process::Command;

use reqwest::StatusCode;

use super::{KEYS, PROFILE, Tab, account};
use crate::reports::{fingerprint, key_id, report, used};
use crate::service::{Service, new_key};

#[tokio::test]
async fn a_refused_form_is_kept_unless_it_contains_a_private_key() {
    let service = Service::start();
    account(&service, "ana");
    let tab = Tab::signed_in(&service, "ana").await;
    let key = new_key(&service, "laptop");
    let private = std::fs::read_to_string(service.path("key-laptop")).unwrap();
    let line = private.lines().nth(1).unwrap();
    for name in ["laptop", ""] {
        let page = tab.adds(name, &private).await;
        page.says(StatusCode::BAD_REQUEST, "This is a private key: it was not stored");
        assert!(!page.text.contains(line), "{}", page.text);
    }
    assert!(!service.log().contains(line));

    let page =
        tab.posts(KEYS, &[("name", "<my> laptop"), ("key", "ssh-ed25519 AAAA"), ("expires_on", "")]).await;
    page.says(StatusCode::BAD_REQUEST, "Error: SSH keys");
    page.says(StatusCode::BAD_REQUEST, "value=\"&#60;my&#62; laptop\"");
    page.says(StatusCode::BAD_REQUEST, ">ssh-ed25519 AAAA</textarea>");
    let check = async |fields: &[(&str, &str)], text: &str| {
        tab.posts(KEYS, fields).await.says(StatusCode::BAD_REQUEST, text);
    };
    check(&[("name", ""), ("key", &key)], "The name is empty").await;
    check(&[("name", ".."), ("key", &key)], "Choose another name").await;
    check(&[("name", "a\u{202e}b"), ("key", &key)], "U+202E").await;
    check(&[("name", "a"), ("key", &key), ("expires_on", "2020-01-01")], "This day is in the past").await;
    check(&[("name", "a"), ("key", &key), ("expires_on", "tomorrow")], "not a day such as").await;
    check(&[("name", "a"), ("key", &format!("{key}\n{key}"))], "more than one line").await;
    tab.posts(KEYS, &[("name", "a"), ("key", &key), ("expires_on", "9999-12-31")])
        .await
        .leads_to("/users/me/ssh-keys?done=added");
    tab.gets(KEYS).await.says(StatusCode::OK, "9999-12-31 23:59 UTC");
    check(&[("name", "a"), ("key", &new_key(&service, "other"))], "already have another key named “a”").await;
    check(&[("name", "b"), ("key", &key)], "already have this key under the name “a”").await;
    let large = "a".repeat(128 * 1024);
    tab.adds("large", &large).await.says(StatusCode::PAYLOAD_TOO_LARGE, "longer than any public key");
}

#[tokio::test]
async fn a_key_of_another_account_moves_to_the_account_that_proves_possession() {
    let service = Service::start();
    let (ana, bob) = (account(&service, "ana"), account(&service, "bob"));
    let key = new_key(&service, "shared");
    service.put(&ana, "mine", &key).await;
    let tab = Tab::signed_in(&service, "bob").await;
    let page = tab.adds("shared", &key).await;
    page.says(StatusCode::BAD_REQUEST, "registered to another account");
    assert!(!page.text.contains("ana"), "{}", page.text);
    let page = tab.gets(KEYS).await;
    page.says(StatusCode::OK, "You tried to add the key “shared”, which another account uses");
    let warning = page.value_after("name=\"warning\" value=\"");

    let page = tab.posts("/users/me/ssh-keys/challenge", &[("warning", &warning)]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
    let proof = tab.gets(page.header("location")).await;
    let command =
        proof.text.split("<pre tabindex=\"0\"><code>").nth(1).unwrap().split("</code>").next().unwrap();
    let command = command.replace("&#39;", "'").replace("~/.ssh/id_ed25519", "\"$KEY\"");
    let sign = |command: &str| {
        let signed = Command::new("sh").args(["-c", command]).env("KEY", service.path("key-shared")).output();
        String::from_utf8(signed.unwrap().stdout).unwrap()
    };
    let fingerprint = proof.value_after("name=\"fingerprint\" value=\"");
    let answer = async |signature: &str| {
        let fields = [("name", "shared"), ("fingerprint", fingerprint.as_str()), ("signature", signature)];
        tab.posts("/users/me/ssh-keys/proof", &fields).await
    };
    answer("nonsense").await.says(StatusCode::BAD_REQUEST, "not the signature that the command prints");
    let other = sign(&command.replace("pushkeys ties", "pushkeys gives"));
    answer(&other).await.says(StatusCode::BAD_REQUEST, "does not match the challenge");
    assert_eq!(service.keys(&ana).await.len(), 1);
    let signature = sign(&command);
    answer(&signature).await.leads_to("/users/me/ssh-keys?done=proved");
    assert!(service.keys(&ana).await.is_empty());
    assert_eq!(service.keys(&bob).await.len(), 1);
    tab.gets(KEYS).await.says(StatusCode::OK, "Verified");
    let anas = Tab::signed_in(&service, "ana").await;
    anas.gets(KEYS).await.says(StatusCode::OK, "moved to another account");
    anas.gets(PROFILE).await.says(StatusCode::OK, "Key “mine” moved to the account that proved possession");
}

#[tokio::test]
async fn the_page_shows_the_last_use_and_the_last_check_of_keys() {
    let service = Service::start();
    let (ana, host) = (account(&service, "ana"), service.host("push1"));
    let key = new_key(&service, "laptop");
    service.put(&ana, "laptop", &key).await;
    let tab = Tab::signed_in(&service, "ana").await;
    tab.gets(KEYS).await.says(StatusCode::OK, "There has been no successful check yet.");
    let id = key_id(&service, &host, fingerprint(&key)).await;
    for (kind, at) in [("check", "2026-01-01T10:00:00Z"), ("push", "2026-01-01T11:00:00Z")] {
        report(&service, &host, pushkeys_feed::USAGE_PATH, &used(fingerprint(&key), &id, kind, at)).await;
    }
    let page = tab.gets(KEYS).await;
    page.says(StatusCode::OK, "<dd>2026-01-01 11:00 UTC on push1</dd>");
    let check = "Last successful check: 2026-01-01 10:00 UTC from host push1, with the key “laptop”.";
    page.says(StatusCode::OK, check);
}

#[tokio::test]
async fn every_change_is_in_the_activity_with_its_actor() {
    let service = Service::start();
    let ana = account(&service, "ana");
    let tab = Tab::signed_in(&service, "ana").await;
    let (laptop, desktop) = (new_key(&service, "laptop"), new_key(&service, "desktop"));
    tab.adds("laptop", &laptop).await.leads_to("/users/me/ssh-keys?done=added");
    service.put(&ana, "desktop", &desktop).await;
    service.put(&ana, "desktop", &desktop).await;
    tab.posts("/users/me/ssh-keys/delete", &[("name", "laptop")])
        .await
        .leads_to("/users/me/ssh-keys?done=deleted");
    tab.posts("/users/me/ssh-keys/delete", &[("name", "laptop")])
        .await
        .leads_to("/users/me/ssh-keys?done=gone");
    tab.posts("/users/me/tokens/revoke", &[("token", &ana.token_id)])
        .await
        .leads_to("/users/me?done=token-revoked");
    assert_eq!(service.get("/v2/self", &ana.bearer).await.0, StatusCode::UNAUTHORIZED);

    let page = tab.gets(PROFILE).await;
    let rows = page.text.split("<tbody>").nth(1).unwrap().split("</tbody>").next().unwrap();
    let rows: Vec<String> = rows
        .split("<tr>")
        .skip(1)
        .map(|row| {
            let cells = row
                .split("<td")
                .skip(2)
                .map(|cell| cell.split_once('>').unwrap().1.split("</td>").next().unwrap().to_owned());
            cells.collect::<Vec<_>>().join(" | ")
        })
        .collect();
    let expected = [
        "Token “without a label” revoked | this console | 127.0.0.1",
        "Key “laptop” deleted | this console | 127.0.0.1",
        "Key “desktop” added | token without a label | 127.0.0.1",
        "Key “laptop” added | this console | 127.0.0.1",
        "Signed in | this console | 127.0.0.1",
        "Password changed | the operator | ",
        "Token “without a label” added | the operator | ",
    ];
    assert_eq!(rows, expected);
}
