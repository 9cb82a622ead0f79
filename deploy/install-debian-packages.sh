#!/bin/sh
# Install the Debian packages that the tests need, apart from Python and its packages.
#
#   package      programs         needed by
#   git          git              tests/unit/daemon/test_code_version.py: reads real checkouts
#   postgresql   initdb, pg_ctl   tests/contract/test_store.py: starts a private PostgreSQL server
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

if [ -z "$packages" ]; then
    exit 0
fi

if ! command -v apt-get >/dev/null; then
    echo "$0: no apt-get here; install the programs of these Debian packages:$packages" >&2
    exit 1
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null; then
    as_root="sudo env"
else
    echo "$0: needs root or sudo to install these Debian packages:$packages" >&2
    exit 1
fi

$as_root apt-get update -qq
# shellcheck disable=SC2086 # one word per package
$as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
