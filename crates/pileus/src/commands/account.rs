//! `pileus account`.

use super::print;
use crate::admin::{AccountClose, AccountCreated, AccountNamed, AccountShown, AccountWanted, KeyNamed, client};
use crate::cli::{AccountCommand, KeyCommand};
use anyhow::Result;
use comfy_table::presets;
use std::io::IsTerminal as _;
use std::path::Path;

pub(crate) fn run(data_dir: &Path, command: AccountCommand) -> Result<()> {
    match command {
        AccountCommand::Create { name } => created(&client::post(data_dir, "/accounts", &AccountWanted { name })?),
        AccountCommand::List { json } => list(&client::get::<Vec<AccountShown>>(data_dir, "/accounts")?, json),
        AccountCommand::Show { account, json } => show(&client::post(data_dir, "/accounts/show", &AccountNamed { account })?, json),
        AccountCommand::Key(KeyCommand::Create { account }) => {
            created(&client::post(data_dir, "/accounts/keys", &AccountNamed { account })?)
        }
        AccountCommand::Key(KeyCommand::Delete { access_key_id }) => client::post(data_dir, "/keys/delete", &KeyNamed { access_key_id }),
        AccountCommand::Close { account, force } => client::post(data_dir, "/accounts/close", &AccountClose { account, force }),
    }
}

fn created(created: &AccountCreated) -> Result<()> {
    print(&serde_json::to_string_pretty(created)?)
}

fn list(accounts: &[AccountShown], json: bool) -> Result<()> {
    if json {
        return print(&serde_json::to_string_pretty(accounts)?);
    }
    let head = ["ID", "NAME", "STATE", "KEYS", "INSTANCES", "BUCKETS", "CREATED"].map(str::to_owned);
    let rows = accounts.iter().map(|a| {
        let (keys, instances, buckets) = (a.access_keys.len().to_string(), a.instances.to_string(), a.buckets.to_string());
        [a.account_id.clone(), a.name.clone(), a.state.clone(), keys, instances, buckets, a.created.clone()]
    });
    print(&lines(std::iter::once(head).chain(rows).map(Vec::from).collect()))
}

fn show(account: &AccountShown, json: bool) -> Result<()> {
    if json {
        return print(&serde_json::to_string_pretty(account)?);
    }
    let mut rows = vec![
        ["id", &account.account_id].map(str::to_owned),
        ["name", &account.name].map(str::to_owned),
        ["state", &account.state].map(str::to_owned),
        ["created", &account.created].map(str::to_owned),
    ];
    rows.extend(account.closed.iter().map(|at| ["closed".to_owned(), at.clone()]));
    let key = |k: &crate::admin::KeyShown| ["access key".to_owned(), format!("{}, created {}", k.access_key_id, k.created)];
    rows.extend(account.access_keys.iter().map(key));
    let counts = [("instances", account.instances), ("volumes", account.volumes), ("images", account.images), ("buckets", account.buckets)];
    rows.extend(counts.map(|(name, n)| [name.to_owned(), n.to_string()]));
    print(&lines(rows.into_iter().map(Vec::from).collect()))
}

/// A table on a terminal; in a pipe, a line a row with tabs between.
fn lines(rows: Vec<Vec<String>>) -> String {
    if !std::io::stdout().is_terminal() {
        return rows.iter().map(|row| row.join("\t")).collect::<Vec<_>>().join("\n");
    }
    let mut table = super::table(presets::UTF8_BORDERS_ONLY);
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}
