#!/bin/sh
# Install SpheroRank as a systemd service on Debian or a similar Linux, upgrade it, roll it back, or
# remove it. Run it from the unpacked release: deploy/install.sh install
set -eu

usage() {
    cat <<'TEXT'
Usage: deploy/install.sh install|upgrade|rollback|uninstall [OPTIONS]

  install    Make user, folders, environment, configuration and units. What exists is kept.
  upgrade    Install this release beside the present one, back the store up, and switch. If the
             service is not ready in time, the present release and its store come back.
  rollback   Go back to the release and the store before the last upgrade. The images since then
             are ingested again from their files. Nothing is changed if such a file is missing.
  uninstall  Stop the service; remove its programs and units. Configuration and data are kept.

  --dry-run             Print the commands and change nothing.
  --wheels DIR          Install from the wheels in DIR only, for a computer without internet.
  --extras LIST         Extras of the package (default: gpu if nvidia-smi finds a GPU, else cpu).
  --python PROGRAM      Python 3.11 or later (default: python3).
  --ready-within S      Seconds until the upgraded service has to be ready (default: 300).
  --without-backup      Upgrade a PostgreSQL store, which you have dumped yourself.
TEXT
}

release=$(cd "$(dirname "$0")/.." && pwd)
programs=/opt/spherorank
settings=/etc/spherorank
config=$settings/spherorank.toml
state=/var/lib/spherorank
command=/usr/local/bin/spherorank
units=/etc/systemd/system
unit_files="spherorank.service spherorank-backup.service spherorank-backup.timer spherorank-notify.service"

dry_run=no wheels='' extras='' python=python3 ready_within=300 backs_up=yes action=''

fail() {
    echo "$0: $*" >&2
    exit 1
}

say() {
    echo "spherorank: $*"
}

# Run a command, or print it with --dry-run.
run() {
    if [ "$dry_run" = yes ]; then
        printf '%s' '+'
        printf ' %s' "$@"
        echo
    else
        "$@"
    fi
}

# Run a command of systemctl where systemd is running.
control() {
    if [ "$dry_run" = yes ] || [ -d /run/systemd/system ]; then
        run systemctl "$@"
    fi
}

# Run spherorank of a release as its user: of RELEASE, ARGUMENTS...
as_service() {
    chosen=$1
    shift
    run runuser -u spherorank -- "$chosen/bin/spherorank" "$@" --config "$config"
}

release_of() {
    readlink -e "$programs/$1" 2>/dev/null || true
}

# Point a link to a release in one step.
point() {
    run ln -sfn "$2" "$programs/.$1.new"
    run mv -T "$programs/.$1.new" "$programs/$1"
}

check_computer() {
    [ "$dry_run" = yes ] || [ "$(id -u)" -eq 0 ] || fail "expected root; use sudo"
    command -v "$python" >/dev/null || fail "$python is missing; expected Python 3.11 or later (--python)"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is $("$python" -V 2>&1); expected Python 3.11 or later (--python)"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make environments; expected its package venv (Debian: python3-venv)"
    [ -z "$wheels" ] || [ -d "$wheels" ] || fail "$wheels is no folder; expected a folder of wheels"
    if [ -z "$extras" ]; then
        extras=cpu
        if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then
            extras=gpu
        fi
    fi
}

make_user() {
    if ! getent passwd spherorank >/dev/null; then
        run useradd --system --user-group --home-dir "$state" --no-create-home \
            --shell /usr/sbin/nologin spherorank
    fi
    run install -d -m 0755 "$programs" "$programs/releases"
    run install -d -m 0750 -o root -g spherorank "$settings"
    run install -d -m 0750 -o spherorank -g spherorank "$state" "$state/backups" /var/log/spherorank
}

# Make the environment of this release; sets $new. A release without the file `complete` is the rest
# of an interrupted installation.
make_release() {
    for rest in "$programs"/releases/*; do
        [ ! -d "$rest" ] || [ -e "$rest/complete" ] || run rm -rf "$rest"
    done
    new=$programs/releases/$(date -u +%Y%m%dT%H%M%SZ)
    say "installs into $new with the extras $extras"
    run "$python" -m venv "$new"
    if [ -n "$wheels" ]; then
        run "$new/bin/pip" install --quiet --disable-pip-version-check --no-index \
            --find-links "$wheels" "spherorank[$extras]"
    else
        run "$new/bin/pip" install --quiet --disable-pip-version-check \
            -c "$release/deploy/constraints.txt" "${release}[$extras]"
    fi
    run cp -R "$release/systemd" "$new/systemd"
    run touch "$new/complete"
}

# Install the command and the units of a release; an earlier release does not have all units.
install_units() {
    run ln -sfn "$programs/current/bin/spherorank" "$command"
    for name in $unit_files; do
        if [ "$dry_run" = yes ] || [ -e "$1/systemd/$name" ]; then
            run install -m 0644 "$1/systemd/$name" "$units/$name"
        elif [ -e "$units/$name" ]; then
            control disable --now "$name" || true
            run rm -f "$units/$name"
        fi
    done
    case ",$extras," in
    *,gpu,*)
        run install -d -m 0755 "$units/spherorank.service.d"
        run install -m 0644 "$1/systemd/drop-ins/gpu.conf" "$units/spherorank.service.d/gpu.conf"
        ;;
    esac
    control daemon-reload
    if [ "$dry_run" = yes ] || [ -e "$units/spherorank-notify.service" ]; then
        # A channel that cannot be used delays no upgrade of the service.
        control try-restart --no-block spherorank-notify.service || true
    fi
}

is_running() {
    [ "$dry_run" = yes ] || systemctl is-active --quiet spherorank 2>/dev/null
}

# Start the service and wait until it is ready, and for five seconds more. Three failed starts are
# enough.
start_and_wait() {
    control start --no-block spherorank
    [ "$dry_run" = no ] || return 0
    end=$(($(date +%s) + ready_within))
    until is_running; do
        restarts=$(systemctl show --property=NRestarts --value spherorank)
        if [ "${restarts:-0}" -ge 3 ] || systemctl is-failed --quiet spherorank ||
            [ "$(date +%s)" -ge "$end" ]; then
            return 1
        fi
        sleep 1
    done
    first=$(systemctl show --property=MainPID --value spherorank)
    sleep 5
    is_running && [ "$(systemctl show --property=MainPID --value spherorank)" = "$first" ]
}

# Fail if the configuration is wrong for a release, which exit code 78 means: RELEASE. The service
# must not run: an earlier release may not know its answer.
check_config() {
    code=0
    answer=$(as_service "$1" status 2>&1) || code=$?
    if [ "$code" -eq 78 ]; then
        echo "$answer" >&2
        [ "$ran" = no ] || control start --no-block spherorank
        fail "nothing was changed; expected a $config that the release before the upgrade accepts"
    fi
}

# Put back the release and store before an upgrade, while the service does not run: OLD BACKUP.
go_back() {
    control reset-failed spherorank || true
    if [ -n "$2" ] && ! as_service "$1" store restore "$2"; then
        [ "$ran" = no ] || control start --no-block spherorank
        fail "the store was not restored, so the release in use is not changed"
    fi
    point current "$1"
    install_units "$1"
}

install_service() {
    check_computer
    make_user
    if [ "$dry_run" = no ] && [ -n "$(release_of current)" ]; then
        new=$(release_of current)
        say "$new is installed already; expected 'upgrade' to install another release"
    else
        make_release
        point current "$new"
    fi
    if [ ! -e "$config" ]; then
        run install -m 0640 -o root -g spherorank "$release/deploy/spherorank.example.toml" "$config"
    fi
    install_units "$new"
    say "next: set source.path in $config, then"
    say "  runuser -u spherorank -- spherorank check --config $config"
    say "  systemctl enable --now spherorank spherorank-backup.timer"
    say "all steps: docs/how-to/install.md"
}

upgrade_service() {
    check_computer
    old=$(release_of current)
    if [ "$dry_run" = yes ]; then
        old=${old:-$programs/releases/PRESENT}
    fi
    [ -n "$old" ] || fail "$programs/current does not exist; expected 'install' first"
    ran=no
    ! is_running || ran=yes
    make_user
    make_release
    backup=''
    [ "$backs_up" = no ] || backup=$state/backups/before-$(basename "$new").sqlite
    control stop spherorank
    if [ -n "$backup" ] && ! as_service "$old" store backup "$backup"; then
        [ "$ran" = no ] || control start spherorank
        fail "the store was not backed up, so nothing was changed; expected a SQLite store, or --without-backup"
    fi
    point current "$new"
    install_units "$new"
    if [ "$ran" = no ]; then
        point previous "$old"
        say "upgraded; the service was not running and is not started"
    elif start_and_wait; then
        point previous "$old"
        say "upgraded and ready; '$0 rollback' goes back"
    else
        say "the new release was not ready; its last messages:"
        journalctl --unit spherorank --lines 30 --no-pager --output cat || true
        control stop spherorank
        go_back "$old" "$backup"
        start_and_wait || fail "the release before the upgrade does not start either: journalctl -u spherorank"
        fail "upgrade failed; the release before it runs again, with its store"
    fi
}

roll_back() {
    new=$(release_of current)
    old=$(release_of previous)
    if [ "$dry_run" = yes ]; then
        new=${new:-$programs/releases/PRESENT} old=${old:-$programs/releases/EARLIER}
    fi
    [ -n "$old" ] || fail "$programs/previous does not exist; expected an upgrade before a rollback"
    backup=$state/backups/before-$(basename "$new").sqlite
    if [ "$backs_up" = no ]; then
        backup=''
    else
        [ "$dry_run" = yes ] || [ -e "$backup" ] || fail "$backup is missing; expected the backup of the upgrade, or --without-backup"
        as_service "$new" store restore --dry-run "$backup" ||
            fail "nothing was changed; expected the files of all images in source.path"
    fi
    ran=no
    ! is_running || ran=yes
    control stop spherorank
    [ "$dry_run" = yes ] || check_config "$old"
    go_back "$old" "$backup"
    run rm -f "$programs/previous"
    if [ "$ran" = yes ]; then
        start_and_wait || fail "the release does not start: journalctl -u spherorank"
    fi
    say "rolled back to $old"
}

uninstall_service() {
    control disable --now spherorank spherorank-backup.timer
    control disable --now spherorank-notify || true # a release before it has no such unit
    for name in $unit_files; do
        run rm -f "$units/$name"
    done
    run rm -f "$units/spherorank.service.d/gpu.conf" "$command"
    run rm -rf "$programs"
    control daemon-reload
    say "removed; kept: $settings, $state, /var/log/spherorank and the user spherorank"
}

while [ $# -gt 0 ]; do
    case $1 in
    install | upgrade | rollback | uninstall) action=$1 ;;
    --dry-run) dry_run=yes ;;
    --without-backup) backs_up=no ;;
    --wheels | --extras | --python | --ready-within)
        [ $# -ge 2 ] || fail "$1 has no value"
        case $1 in
        --wheels) wheels=$2 ;;
        --extras) extras=$2 ;;
        --python) python=$2 ;;
        --ready-within) ready_within=$2 ;;
        esac
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) fail "$1 is unknown; expected install, upgrade, rollback, uninstall, or an option of --help" ;;
    esac
    shift
done

case $action in
install) install_service ;;
upgrade) upgrade_service ;;
rollback) roll_back ;;
uninstall)
    [ "$dry_run" = yes ] || [ "$(id -u)" -eq 0 ] || fail "expected root; use sudo"
    uninstall_service
    ;;
*)
    usage >&2
    exit 2
    ;;
esac
