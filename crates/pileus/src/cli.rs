//! The command line. Its help texts are the manual.

use crate::commands::forward::PortForward;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// An AWS-compatible cloud of real machines, in one binary.
///
/// `pileus serve` turns this machine into a cloud. Point the aws CLI, an SDK or Ansible at it with `eval "$(pileus env)"`:
/// `aws ec2 run-instances` then boots a real virtual machine (QEMU), on a virtual network whose security groups are enforced.
#[derive(Debug, Parser)]
#[command(
    name = "pileus",
    version,
    max_term_width = 110,
    after_long_help = "\
FROM NOTHING TO SSH
    pileus doctor                                   what this machine can do, and what to install
    pileus serve &                                  the cloud; all services on 127.0.0.1:4566
    eval \"$(pileus env)\"                            credentials and endpoint for aws and SDKs
    pileus image build tiny                         a small Linux; prints its ami-… id
    aws ec2 create-key-pair --key-name k --query KeyMaterial --output text > k.pem; chmod 600 k.pem
    aws ec2 run-instances --image-id ami-… --instance-type t3.nano --key-name k
    pileus ssh --identity k.pem i-… -- uname -a

FILES (in the data directory)
    state.db      the database: accounts, instances, networks …    images/ volumes/  disks
    objects/      S3: the index and the objects' files             consoles/         serial consoles
    machines/     one directory for each running machine           cache/            packages
    lost+found/   files set aside, kept for 7 days               admin.sock        operator's socket
    .pileus       the cloud's id (in each directory, too)          objects.key       S3's master key"
)]
pub(crate) struct Cli {
    /// Where the cloud keeps everything. A data directory is of a real or of a simulated cloud, for ever.
    #[arg(long, global = true, env = "PILEUS_DATA_DIR", default_value = "/var/lib/pileus", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what this machine can do as a host, and what to do about what it can't.
    ///
    /// Tries rather than guesses: starts a guest on /dev/kvm, makes a network with a tap and a rule, and a control group, and
    /// removes them again; nothing else is changed, and no cloud need run. Says which accelerator guests will run on, and why.
    ///
    /// Each check is `ok`; `weak`, if instances run, but slower or with less; or `missing`, if none can run. What is not good
    /// comes with what to do. Exits with 1 if anything is missing, else with 0.
    #[command(after_long_help = "\
EXAMPLES
    pileus doctor                               a table on a terminal, plain lines in a pipe
    pileus doctor --data-dir /srv/pileus        judge the disk of that directory
    pileus doctor --config pileus.toml          judge what `serve` would do with that file
    pileus doctor --json | jq -r .accelerator   kvm or tcg; also .ready, .cpu_flags, .findings")]
    Doctor {
        /// The configuration that `pileus serve` would be given.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run the cloud, in the foreground, until SIGTERM or SIGINT.
    ///
    /// All services answer on one port. On SIGTERM the server finishes the calls under way and stops; the guests go on, and the
    /// next `serve` on the same data directory finds them again. The log goes to standard error; RUST_LOG sets its level.
    #[command(after_long_help = concat!("\
EXAMPLES
    pileus serve                                    as root: the cloud of /var/lib/pileus
    pileus --data-dir /srv/cloud serve --listen 127.0.0.1:4577 --config pileus.toml
    pileus --data-dir /tmp/c serve --simulate       as any user: no guests, for tests of API clients
    pileus --data-dir /tmp/c serve --simulate --any-credentials --listen 127.0.0.1:0
                                                    for a test suite; see docs/guide/testing.md
    RUST_LOG=debug pileus serve 2>pileus.log        else warn, error, trace; info by default

SIGNALS
    SIGTERM, SIGINT   stop cleanly: open calls get 5 seconds to end, guests go on. Exits with 0.
    SIGKILL, a crash  lose nothing that was answered; guests go on here, too. Start it again.

CONFIGURATION (the whole of --config's file)
", include_str!("../../../docs/guide/pileus.toml")))]
    Serve(ServeArgs),
    /// Accept the data directory as it is, when `serve` refuses it because parts are missing or don't fit together.
    ///
    /// `serve` refuses a database that is older than the files beside it or of another cloud, and directories that the cloud didn't make, such
    /// as the empty mount point of a disk. First mount the disk, or restore a backup. If the missing part is lost, run this while no server
    /// runs. It needs a database. At the next start, volumes and images that the database doesn't name are moved to lost+found and kept for 7
    /// days, guests that it doesn't name are told to power off, and volumes without a file get the state `error`.
    #[command(after_long_help = "\
EXAMPLES
    pileus adopt
    pileus --data-dir /srv/cloud adopt && pileus --data-dir /srv/cloud serve")]
    Adopt,
    /// Print the shell commands that point AWS clients at this cloud: eval "$(pileus env)".
    ///
    /// Sets AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, AWS_REGION and AWS_ENDPOINT_URL to the first account's, and
    /// AWS_ENDPOINT_URL_S3_CONTROL to a host name that clients can put the account id in front of. Unsets AWS_SESSION_TOKEN and AWS_PROFILE. If you have no
    /// configuration of the aws CLI, AWS_CONFIG_FILE is set, too: to a file that makes version 1 of the CLI and boto3 presign S3 URLs with
    /// signature version 4, the only one accepted here. An AWS_CONFIG_FILE that doesn't exist, or that another cloud set, is replaced. Fails, and prints `false` for `eval`, if no cloud answers.
    #[command(after_long_help = "\
EXAMPLES
    eval \"$(pileus env)\"                           this shell's aws and SDKs ask this cloud now
    env=$(pileus env) && eval \"$env\"               in scripts: a failure ends here, not at AWS
    pileus --data-dir /srv/cloud env                another cloud's
    (eval \"$(pileus env)\" && aws ec2 describe-instances)        for one command")]
    Env,
    /// Show the state of the running cloud: real or simulated, accelerator, network access, capacity, instances, troubles.
    ///
    /// Processors and memory are what instances can be given: what the host has, times the configured overcommitment. Each `note` is something
    /// that needs attention: a damaged or missing file, a paused guest, files in lost+found, a destination that doesn't answer.
    #[command(after_long_help = "\
EXAMPLES
    pileus status                                   a table on a terminal, plain lines in a pipe
    pileus status --json | jq .instances            by state; also .vcpus, .notes and more
    until pileus status >/dev/null 2>&1; do sleep 0.1; done   waits until the cloud is open")]
    Status {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Create, list and close tenants, and make their access keys.
    ///
    /// An account owns its resources and sees no other's. It is named by its name or by its id of twelve digits; the names are unique.
    #[command(
        subcommand,
        after_long_help = "\
EXAMPLES
    pileus account create --name team-a
    pileus account list
    pileus account key create team-a"
    )]
    Account(AccountCommand),
    /// Empty a simulated cloud: delete the resources of all accounts, and the accounts of unknown access keys.
    ///
    /// A real cloud refuses this. Accounts that were created by `pileus account create` stay, with their keys. With
    /// `serve --any-credentials`, `POST /_pileus/reset` on the endpoint does the same for a test suite.
    #[command(after_long_help = "\
EXAMPLES
    pileus --data-dir /tmp/c reset
    curl -X POST http://127.0.0.1:4566/_pileus/reset      instead of moto's /moto-api/reset")]
    Reset,
    /// Log in to an instance, or run a command on it; never prompts.
    ///
    /// The connection starts at the router of the instance's VPC, so no public address and no inbound rule
    /// of a security group is needed. Runs the `ssh` of this machine, with this program as its ProxyCommand.
    /// Exits with what the command exits with, or 255 if there was no connection.
    #[command(after_long_help = "\
EXAMPLES
    pileus ssh --identity k.pem i-0293488c405d4cac6
    pileus ssh --identity k.pem i-0293488c405d4cac6 -- uname -a
    pileus ssh --identity k.pem --user debian i-0293488c405d4cac6   not as the image's user
    tar c . | pileus ssh --identity k.pem i-0293488c405d4cac6 -- tar x   copies files
    pileus ssh --identity k.pem -N -L 8080:localhost:80 i-0293488c405d4cac6   a tunnel through ssh
    pileus ssh --print i-0293488c405d4cac6      the plain ssh command, for other tools")]
    Ssh(SshArgs),
    /// Forward ports of this machine to ports of an instance, until it is interrupted.
    ///
    /// As with `pileus ssh`, connections start at the router of the instance's VPC: no public address and no inbound rule of a security
    /// group is needed. Listens on 127.0.0.1 unless an address is given. Prints where each port listens.
    #[command(after_long_help = "\
EXAMPLES
    pileus forward i-0293488c405d4cac6 8080:80           then: curl http://127.0.0.1:8080/
    pileus forward i-0293488c405d4cac6 5432 9090:90      several; one number: both sides
    pileus forward i-0293488c405d4cac6 0:80              any free port; the line says which
    pileus forward i-0293488c405d4cac6 0.0.0.0:8080:80   for other machines, too")]
    Forward(ForwardArgs),
    /// Attach to an instance's serial console. Ctrl-] leaves.
    ///
    /// Without a terminal, it types what it reads from standard input, and ends when the console has been silent for a second. If standard input
    /// is empty, it prints the last 64 KiB of the console, also of a stopped instance, and ends.
    #[command(after_long_help = "\
EXAMPLES
    pileus console i-0293488c405d4cac6                          attach
    pileus console i-0293488c405d4cac6 </dev/null               what it holds
    echo uptime | pileus console i-0293488c405d4cac6            type a line, print the answer
    tail -f /dev/null | pileus console i-0293488c405d4cac6      follow, until it is interrupted")]
    Console {
        /// The instance.
        #[arg(value_name = "ID")]
        instance: String,
    },
    /// Back up the whole cloud into a directory, while it runs or while it is stopped.
    ///
    /// Each backup is a directory in TO, named by its time. It is complete: older ones can be deleted. Unchanged files are hard links to those of
    /// the backup before. Guests keep running; all volumes of a guest are copied as they are at one moment, as after a power cut. Instance
    /// storage is not backed up. See docs/guide/backup.md.
    #[command(after_long_help = "\
EXAMPLES
    pileus backup /mnt/backups
    pileus --data-dir /srv/cloud backup /mnt/cloud && ls /mnt/cloud
    rm -r /mnt/backups/20261125T005356Z             the others stay complete")]
    Backup {
        /// The directory for backups; best on another disk.
        #[arg(value_name = "TO")]
        to: PathBuf,
    },
    /// Restore a backup into an empty data directory.
    ///
    /// FROM is one backup, or a directory of backups: then the newest is restored. Each file is compared with its checksum in the backup's
    /// manifest. If one differs, or the backup is unfinished, nothing is restored.
    #[command(after_long_help = "\
EXAMPLES
    pileus --data-dir /srv/new restore /mnt/backups
    pileus restore /mnt/backups/20261125T005356Z
    pileus restore --check /mnt/backups             only compare it with its checksums")]
    Restore {
        /// Compare the backup with its checksums, and change nothing.
        #[arg(long)]
        check: bool,
        /// A backup, or a directory of backups.
        #[arg(value_name = "FROM")]
        from: PathBuf,
    },
    /// Check and repair the stored data of a stopped cloud.
    #[command(
        subcommand,
        after_long_help = "\
EXAMPLES
    pileus fsck objects
    pileus fsck objects --rebuild"
    )]
    Fsck(FsckCommand),
    /// Build, import, list and remove machine images.
    #[command(
        subcommand,
        after_long_help = "\
EXAMPLES
    pileus image build tiny
    pileus image import debian-12-generic-amd64.qcow2 --name debian-12 --login-user debian --public
    pileus image list"
    )]
    Image(ImageCommand),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The address and port to answer on [default: 127.0.0.1:4566, or the configuration file's].
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// A TOML file. Unknown keys are refused. See docs/guide/pileus.toml.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Simulate: the same cloud without guests, disks or packets; instances run at once. For tests of API clients.
    #[arg(long)]
    pub(crate) simulate: bool,
    /// Take any credentials: each unknown access key is an account of its own, made at its first use, with any secret and session token.
    /// Whoever reaches the port may do anything: for tests only. Bodies that are signed in chunks are refused.
    #[arg(long, requires = "simulate")]
    pub(crate) any_credentials: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Create an account; prints AccountId, AccessKeyId and SecretAccessKey as JSON. The secret is not shown again.
    ///
    /// An account sees its own resources only. `pileus env` still prints the keys of the first account.
    #[command(after_long_help = "\
EXAMPLES
    pileus account create --name team-a
    pileus account create --name team-a >team-a.json    then, after `eval \"$(pileus env)\"`:
    export AWS_ACCESS_KEY_ID=$(jq -r .AccessKeyId team-a.json)
    export AWS_SECRET_ACCESS_KEY=$(jq -r .SecretAccessKey team-a.json)")]
    Create {
        /// Its name: 1 to 50 characters, none of them a control character; unique on this cloud, closed accounts included.
        #[arg(long)]
        name: String,
    },
    /// List all accounts, the oldest first, with the number of their keys, instances and buckets.
    #[command(after_long_help = "\
EXAMPLES
    pileus account list                             a table on a terminal, lines with tabs in a pipe
    pileus account list --json | jq -r '.[] | select(.State == \"active\") | .Name'")]
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show an account: its id, state, access keys and number of resources. Secrets are never shown.
    #[command(after_long_help = "\
EXAMPLES
    pileus account show team-a
    pileus account show 111122223333 --json")]
    Show {
        /// Its name, or its id of twelve digits.
        account: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make and delete access keys.
    #[command(
        subcommand,
        after_long_help = "\
EXAMPLES
    pileus account key create team-a
    pileus account key delete AKIA2MEYEPKTVJSWTQJX"
    )]
    Key(KeyCommand),
    /// Close an account for good: its access keys are deleted, and it stays listed as closed. Its name stays taken.
    ///
    /// Refused while the account has buckets, or instances that aren't terminated. --force terminates its instances, protected ones too, and
    /// deletes its buckets with all objects, locked ones too. Its images, and volumes that aren't deleted with their instances, stay on the
    /// disk. The first account can't be closed.
    #[command(after_long_help = "\
EXAMPLES
    pileus account close team-a
    pileus account close team-a --force             ends its instances and deletes its buckets")]
    Close {
        /// Its name, or its id of twelve digits.
        account: String,
        /// Terminate its instances and delete its buckets first.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make another access key; prints AccountId, AccessKeyId and SecretAccessKey as JSON. The secret is not shown again.
    ///
    /// An account has at most 2 keys, as a root user at AWS: make the new one, change your clients, delete the old one.
    #[command(after_long_help = "\
EXAMPLES
    pileus account key create team-a >team-a.json")]
    Create {
        /// The account's name, or its id of twelve digits.
        account: String,
    },
    /// Delete an access key: requests that are signed by it are refused at once.
    #[command(after_long_help = "\
EXAMPLES
    pileus account key delete AKIA2MEYEPKTVJSWTQJX")]
    Delete {
        /// The key's id; `pileus account show` lists them.
        #[arg(value_name = "ACCESS_KEY_ID")]
        access_key_id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum FsckCommand {
    /// Check that the index of S3's objects and their files match. Exits with 1 if they don't.
    ///
    /// Finds files that are missing or have another size, and files that belong to no object. The contents are not read: the running cloud does
    /// that once a week (scrub_hours). Stop the server first.
    #[command(after_long_help = "\
EXAMPLES
    pileus fsck objects                             one line for each problem
    pileus fsck objects --rebuild                   if `serve` says that the index is lost or old

WHAT --rebuild RESTORES
    It starts from a copy of the index: objects/index.db, if you put one back, or
    objects/index.backup.db, which the running cloud writes each hour; it takes the newer one that
    can be read. From the journal it adds later buckets, settings, tags, deletions and objects above
    16 KiB. Lost are later objects of 16 KiB or less and later unfinished multipart uploads: their
    bytes were in the index only. Files of no object are moved to objects/lost+found. If you have a
    backup that is newer than the copy, restore it instead.")]
    Objects {
        /// Make a new index from a copy, the journal and the files.
        #[arg(long)]
        rebuild: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SshArgs {
    /// The private key to log in with.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// The user to log in as [default: the image's].
    #[arg(long, short, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Print the plain `ssh` command instead of running it.
    #[arg(long)]
    pub(crate) print: bool,
    /// Forward a local port through the session, as `ssh -L` does; may be repeated.
    #[arg(short = 'L', value_name = "[ADDRESS:]PORT:HOST:PORT")]
    pub(crate) local_forward: Vec<String>,
    /// Run no command: only forward ports.
    #[arg(short = 'N', conflicts_with = "command")]
    pub(crate) no_command: bool,
    /// How long to wait for the guest to answer on port 22, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) wait: u64,
    /// Be the ProxyCommand: connect standard input and output to the instance's port 22.
    #[arg(long, hide = true)]
    pub(crate) proxy: bool,
    /// The instance.
    #[arg(value_name = "ID")]
    pub(crate) instance: String,
    /// The command to run on it; without one, a login shell.
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ForwardArgs {
    /// The instance.
    #[arg(value_name = "ID")]
    pub(crate) instance: String,
    /// The port to listen on, then the instance's port: PORT (the same on both sides), LOCAL:PORT or ADDRESS:LOCAL:PORT.
    #[arg(value_name = "[ADDRESS:]LOCAL:PORT", required = true)]
    pub(crate) ports: Vec<PortForward>,
}

/// Whose an image is to be, and where.
#[derive(Debug, Args)]
pub(crate) struct ImagePlaceArgs {
    /// The owner: an account's name or id [default: the first account].
    #[arg(long, value_name = "NAME|ID")]
    pub(crate) account: Option<String>,
    /// A region to register the image in, or `all`; may be repeated.
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Vec<String>,
}

impl From<ImagePlaceArgs> for api::operator::ImagePlaces {
    fn from(args: ImagePlaceArgs) -> Self {
        Self { account: args.account, regions: args.region }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ImageImportArgs {
    /// The disk image.
    pub(crate) file: PathBuf,
    /// The image's name.
    #[arg(long)]
    pub(crate) name: String,
    /// A description.
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// The user that `pileus ssh` logs in as.
    #[arg(long, default_value = "root")]
    pub(crate) login_user: String,
    #[command(flatten)]
    pub(crate) place: ImagePlaceArgs,
    /// Let every account launch it.
    #[arg(long)]
    pub(crate) public: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build an image from Debian's packages and register it; prints its id.
    ///
    /// By default the image is public and registered in every region. Its id differs from region to region: this prints the one of the configured
    /// region, `pileus image list` shows all. They share one file.
    ///
    /// Works in the data directory of the running cloud, as root. The packages are kept in its `cache/`, or in the directory that
    /// PILEUS_CACHE_DIR names.
    #[command(after_long_help = "\
EXAMPLES
    pileus image build tiny
    image=$(pileus image build tiny --name tiny-2)  the id alone is on standard output
    pileus image build tiny --account team-a --region eu-west-1 --public=false
    PILEUS_CACHE_DIR=/srv/cache pileus image build tiny")]
    Build {
        /// Which one: `tiny` is Debian's cloud kernel with busybox and dropbear, under 64 MiB.
        #[arg(value_parser = ["tiny"])]
        kind: String,
        /// The image's name.
        #[arg(long, default_value = "tiny")]
        name: String,
        #[command(flatten)]
        place: ImagePlaceArgs,
        /// Let every account launch it.
        #[arg(
            long,
            value_name = "BOOL",
            default_value_t = true,
            default_missing_value = "true",
            num_args = 0..=1,
            require_equals = true,
            action = clap::ArgAction::Set
        )]
        public: bool,
    },
    /// Import a disk image (raw or qcow2) that boots by itself, and register it; prints its id.
    ///
    /// By default only its owner can launch it, and only in the configured region. The owner can share it with other accounts (`aws ec2
    /// modify-image-attribute`) and copy it to other regions (`aws ec2 copy-image`).
    ///
    /// A qcow2 that names any other file (backing file, external data file) is refused.
    #[command(after_long_help = "\
EXAMPLES
    pileus image import debian-12-generic-amd64.qcow2 --name debian-12 --login-user debian
    pileus image import disk.raw --name mine --description 'what it is for' --account team-a
    pileus image import disk.raw --name ours --public --region us-east-1 --region eu-west-1")]
    Import(ImageImportArgs),
    /// List the images of all accounts and regions.
    ///
    /// FILES is the directory in `images/` that holds an image's disk. Images with the same FILES share that disk: its space is used once.
    #[command(after_long_help = "\
EXAMPLES
    pileus image list --region us-east-1
    pileus image list --json | jq -r '.[] | select(.Name == \"tiny\") | [.Region, .ImageId] | @tsv'")]
    List {
        /// Only the images of this region.
        #[arg(long, value_name = "REGION")]
        region: Option<String>,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Deregister an image of any account; prints the ids of the deregistered images.
    ///
    /// Its instances keep running. Its file is deleted when no image and no volume uses it any more.
    #[command(after_long_help = "\
EXAMPLES
    pileus image rm ami-0e1b3fb99e8d4c05c
    pileus image rm --all-regions ami-0e1b3fb99e8d4c05c")]
    Rm {
        /// The image.
        #[arg(value_name = "ID")]
        image: String,
        /// Also in all other regions: images of the same owner, name and file.
        #[arg(long)]
        all_regions: bool,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Cli;
    use crate::config::Config;
    use clap::CommandFactory as _;

    /// How wide clap writes where there is no terminal.
    const WIDTH: usize = 100;

    /// Every subcommand's long help, by its words.
    fn helps(command: &mut clap::Command, path: &str, all: &mut Vec<(String, String)>) {
        for sub in command.get_subcommands_mut().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            all.push((path.clone(), sub.render_long_help().to_string()));
            helps(sub, &path, all);
        }
    }

    #[test]
    fn every_subcommands_help_has_examples_of_itself() {
        let mut all = Vec::new();
        helps(&mut Cli::command(), "pileus", &mut all);
        assert!(all.len() >= 11, "{}", all.len());
        for (path, help) in all {
            let examples = help.split_once("\nEXAMPLES\n").unwrap_or_else(|| panic!("{path} --help has no EXAMPLES")).1;
            let last = path.rsplit(' ').next().unwrap();
            assert!(examples.contains("pileus") && examples.contains(last), "{path}: {examples}");
        }
    }

    #[test]
    fn what_is_to_be_copied_from_a_help_is_not_wrapped() {
        fn check(command: &clap::Command) {
            let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "{}: {line}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn the_help_of_serve_has_every_setting_and_the_signals() {
        let mut all = Vec::new();
        helps(&mut Cli::command(), "pileus", &mut all);
        let help = &all.iter().find(|(path, _)| path == "pileus serve").unwrap().1;
        let settings = Config::default().setting_names();
        assert!(settings.len() >= 12, "{settings:?}");
        for name in settings {
            assert!(help.lines().any(|line| line.starts_with(&format!("{name} = "))), "{name} is missing in {help}");
        }
        assert!(help.contains("SIGTERM") && help.contains("SIGINT"));
    }
}
