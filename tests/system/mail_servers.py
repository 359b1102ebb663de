"""Private instances of Dovecot and Postfix on free ports, with their own authority and mailboxes.

`mx.hermes.test` stamps `Authentication-Results` by who speaks to it (the envelope sender):

- `alice@people.test`, `bob@people.test`: DMARC passes for people.test
- anybody `@evil.test`: DMARC fails for people.test
- everybody else: nothing is stamped
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORD = 'pass "word" with \\ and ü'
HERMES, ALICE, BOB = "hermes@hermes.test", "alice@people.test", "bob@people.test"
MX = "mx.hermes.test"
_UID = 47111
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

_DOVECOT = """\
protocols = imap
listen = 127.0.0.1
base_dir = {run}
state_dir = {run}/state
log_path = {directory}/dovecot.log
ssl = required
ssl_cert = <{directory}/server.pem
ssl_key = <{directory}/server.key
mail_location = maildir:{directory}/mail/%u
mailbox_list_index = no
maildir_very_dirty_syncs = no
first_valid_uid = 1
auth_mechanisms = plain login
imap_capability = {capability}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {directory}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={uid} home={directory}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service auth {{
  unix_listener {directory}/auth {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""

_MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {directory}/postfix.log
maillog_file_prefixes = {directory}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = {mx}
mydomain = hermes.test
mydestination =
mynetworks =
relay_domains =
default_transport = discard
relay_transport = discard
alias_maps =
virtual_mailbox_domains = hermes.test, people.test
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = texthash:{directory}/mailboxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
virtual_transport = virtual
message_size_limit = 60000000
virtual_mailbox_limit = 0
smtpd_tls_cert_file = {directory}/server.pem
smtpd_tls_key_file = {directory}/server.key
smtpd_sasl_type = dovecot
smtpd_sasl_path = {directory}/auth
sasl_only = permit_sasl_authenticated, reject
smtputf8_enable = yes
smtpd_peername_lookup = no
smtp_host_lookup = native
"""

_MASTER = """\
{submission} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes
  -o smtpd_recipient_restrictions=check_recipient_access,texthash:{directory}/recipients,$sasl_only
{smtps} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes -o smtpd_sasl_auth_enable=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
{incoming} inet n - n - - smtpd
  -o smtpd_recipient_restrictions=check_sender_access,regexp:{directory}/stamps,reject_unauth_destination
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

_STAMP = "PREPEND Authentication-Results:"
_STAMPS = f"""\
/^(alice|bob)@people\\.test$/ {_STAMP} {MX}; dmarc=pass (p=reject) header.from=people.test
/@evil\\.test$/ {_STAMP} {MX}; dmarc=fail header.from=people.test; spf=pass smtp.mailfrom=mallory@evil.test
"""
_RECIPIENTS = """\
gone@people.test 550 5.1.1 no such person
busy@people.test 450 4.2.1 come back later
"""


def why_not() -> str:
    """Why these servers cannot be run here; empty if they can."""
    if os.geteuid() != 0:
        return "Dovecot and Postfix need root to start"
    for name in ("dovecot", "postfix"):
        if shutil.which(name, path=_PATH) is None:
            return f"{name} is not installed"
    version = subprocess.run(
        ["dovecot", "--version"], check=True, env={"PATH": _PATH}, capture_output=True, text=True
    )
    if not version.stdout.startswith("2.3"):
        return f"the configuration here is for Dovecot 2.3, not {version.stdout.split(' ')[0].strip()}"
    return ""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@dataclass
class MailServers:
    """Running servers. `restart_dovecot`, `stop_*` and `start_*` are for trouble."""

    directory: Path
    imap: int
    imaps: int
    submission: int
    smtps: int
    incoming: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def authority(self) -> Path:
        return self.directory / "authority.pem"

    def start(self, name: str) -> None:
        command = {
            "dovecot": ["dovecot", "-F", "-c", str(self.directory / "dovecot.conf")],
            "postfix": ["postfix", "-c", str(self.directory / "postfix"), "start-fg"],
        }[name]
        with (self.directory / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                command,
                env={"PATH": _PATH},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        ports = (self.imap, self.imaps) if name == "dovecot" else (self.submission, self.smtps, self.incoming)
        for port in ports:
            self._wait_port(name, port)

    def stop(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if process is None:
            return
        leader = process.pid
        if name == "postfix":  # what was started is a shell that waits for the real one
            leader = int((self.directory / "queue/pid/master.pid").read_text().split()[0])
        os.kill(leader, signal.SIGTERM)
        process.wait(20)
        # Children that serve a connection end with their master, or now.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)

    def set_password(self, password: str) -> None:
        lines = "".join(f"{user}:{{PLAIN}}{password}\n" for user in (HERMES, ALICE, BOB))
        (self.directory / "users").write_text(lines)

    def submit(self, message: EmailMessage | bytes, *, sender: str = ALICE, to: str = HERMES) -> None:
        """Somebody out there sends a mail."""
        with smtplib.SMTP("127.0.0.1", self.incoming, local_hostname="client.test") as client:
            data = message if isinstance(message, bytes) else message.as_bytes(policy=policy.SMTP)
            client.sendmail(sender, [to], data)

    def put(self, data: bytes, user: str = HERMES) -> None:
        """A mail is there, as it is."""
        inbox = self.directory / "mail" / user
        name = f"{time.time_ns()}.put.test"
        (inbox / "tmp" / name).write_bytes(data)
        os.chown(inbox / "tmp" / name, _UID, _UID)
        (inbox / "tmp" / name).rename(inbox / "new" / name)

    def mails(self, user: str = ALICE) -> list[EmailMessage]:
        """What somebody has got, the oldest first."""
        inbox = self.directory / "mail" / user
        found = [*(inbox / "new").iterdir(), *(inbox / "cur").iterdir()]
        return [
            message_from_bytes(each.read_bytes(), policy=policy.default)  # type: ignore[arg-type]
            for each in sorted(found, key=lambda each: each.name)
        ]

    def clear(self) -> None:
        """Empty mailboxes, but the numbers of the agent's mail go on."""
        for user in (HERMES, ALICE, BOB):
            for folder in ("new", "cur"):
                for each in (self.directory / "mail" / user / folder).iterdir():
                    each.unlink()

    def wait_for(self, condition: Callable[[], object], timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, self.report()
            time.sleep(0.02)

    def wait_for_mail(self, text: str, user: str = ALICE, timeout: float = 60.0) -> EmailMessage:
        """The first mail with a text in it."""
        self.wait_for(lambda: any(text in body(each) for each in self.mails(user)), timeout)
        return next(each for each in self.mails(user) if text in body(each))

    def report(self) -> str:
        subjects = [(each["subject"], body(each)[:200]) for each in self.mails()]
        logs = "".join(
            (self.directory / name).read_text(errors="replace")[-1500:]
            for name in ("dovecot.log", "postfix.log", "dovecot.out", "postfix.out")
            if (self.directory / name).exists()
        )
        return f"it did not happen; mail: {subjects}; {logs}"

    def _wait_port(self, name: str, port: int) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, self.report()
                assert self.processes[name].poll() is None, self.report()
                time.sleep(0.02)


def body(message: EmailMessage) -> str:
    """Its text."""
    part = message.get_body(("plain",))
    return part.get_content() if part is not None else ""


def letter(text: str, *, sender: str = ALICE, subject: str = "A question", **headers: str) -> EmailMessage:
    """A mail as people write them; a header's name has `_` for `-`."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = HERMES
    message["Subject"] = subject
    message["Date"] = "Sat, 21 Nov 2026 10:00:00 +0000"
    message["Message-ID"] = f"<{time.time_ns()}@people.test>"
    for name, value in headers.items():
        del message[name.replace("_", "-")]
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message


@contextlib.contextmanager
def running_servers(capability: str = "+") -> Iterator[MailServers]:
    """Start both; skips the test that asks for it if they cannot be had."""
    if reason := why_not():
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="hermes-mail-", dir="/tmp"))
    servers = MailServers(directory, *free_ports(5))
    try:
        _write(servers, capability)
        servers.start("dovecot")
        servers.start("postfix")
        yield servers
    finally:
        for name in list(servers.processes):
            servers.stop(name)
        shutil.rmtree(directory, ignore_errors=True)


def _write(servers: MailServers, capability: str) -> None:
    directory = servers.directory
    directory.chmod(0o755)
    make_authority(directory)
    values = {
        "directory": directory,
        "run": directory / "run",
        "uid": _UID,
        "mx": MX,
        "capability": capability,
        "imap": servers.imap,
        "imaps": servers.imaps,
        "submission": servers.submission,
        "smtps": servers.smtps,
        "incoming": servers.incoming,
    }
    (directory / "dovecot.conf").write_text(_DOVECOT.format(**values))
    (directory / "postfix").mkdir()
    (directory / "postfix" / "main.cf").write_text(_MAIN.format(**values))
    (directory / "postfix" / "master.cf").write_text(_MASTER.format(**values))
    (directory / "stamps").write_text(_STAMPS)
    (directory / "recipients").write_text(_RECIPIENTS)
    (directory / "mailboxes").write_text("".join(f"{user} {user}/\n" for user in (HERMES, ALICE, BOB)))
    servers.set_password(PASSWORD)
    for name in ("queue", "data", "mail", "run"):
        (directory / name).mkdir()
    shutil.chown(directory / "data", "postfix", "postfix")
    os.chown(directory / "mail", _UID, _UID)
    for user in (HERMES, ALICE, BOB):
        for folder in ("", "new", "cur", "tmp"):
            (directory / "mail" / user / folder).mkdir(mode=0o700, exist_ok=True)
            os.chown(directory / "mail" / user / folder, _UID, _UID)


def make_authority(directory: Path) -> None:
    """A certificate authority and a certificate for localhost and 127.0.0.1."""
    now = datetime.datetime.now(datetime.UTC)

    def build(name: str, key: ec.EllipticCurvePublicKey, issuer: str) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )

    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        build("test authority", authority.public_key(), "test authority")
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    leaf = (
        build("localhost", server.public_key(), "test authority")
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "authority.pem").write_bytes(root.public_bytes(pem))
    (directory / "server.pem").write_bytes(leaf.public_bytes(pem))
    (directory / "server.key").write_bytes(
        server.private_bytes(
            pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
