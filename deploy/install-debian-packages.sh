#!/bin/sh
# Install the Debian packages that the tests need, apart from Python and its packages.
#
#   package      programs         needed by
#   git          git              tests/unit/daemon/test_code_version.py: reads real checkouts
#   postgresql   initdb, pg_ctl   tests/contract/test_store.py: starts a private PostgreSQL server
#   prometheus   promtool         tests/architecture/test_monitoring.py: checks the alert rules
#
# The service and the demos need no Debian package.
# `make test` calls this script. It does nothing if the programs are installed, whether by Debian or
# otherwise. It needs root, or sudo.
set -eu

packages=""
if ! command -v git >/dev/null; then
    packages="$packages git"
fi
if ! command -v initdb >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    packages="$packages postgresql"
fi
unpacked=""
if ! command -v promtool >/dev/null; then
    unpacked=" prometheus"
fi

if [ -z "$packages$unpacked" ]; then
    exit 0
fi

if ! command -v apt-get >/dev/null; then
    echo "$0: no apt-get here; install the programs of these Debian packages:$packages$unpacked" >&2
    exit 1
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null; then
    as_root="sudo env"
else
    echo "$0: needs root or sudo to install these Debian packages:$packages$unpacked" >&2
    exit 1
fi

$as_root apt-get update -qq
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086 # one word per package
    $as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
fi
if [ -n "$unpacked" ]; then
    # The installed package would start a server, so only its program is taken.
    folder=$(mktemp -d)
    (
        cd "$folder"
        apt-get -o APT::Sandbox::User=root -qq download prometheus
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
    )
    $as_root install -m 0755 "$folder/usr/bin/promtool" /usr/local/bin/promtool
    rm -rf "$folder"
fi
