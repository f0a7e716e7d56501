#!/bin/sh
# What the container runs: the site of one project, which is made at the first start. Other words are a command of accord's:
#   docker compose exec app accord-container labelers invite /project Ann --role lead
# ACCORD_STORE is the address of a PostgreSQL database for a new project, ACCORD_FLAGS are more flags of `accord open`.
set -eu
project=${ACCORD_PROJECT:-/project} port=${ACCORD_PORT:-8400}

case "${1:-}" in
"")
    if [ ! -e "$project/accord.toml" ]; then
        accord init "$project"
        [ -z "${ACCORD_STORE:-}" ] || printf '\n[store]\nurl = "%s"\n' "$ACCORD_STORE" >> "$project/accord.toml"
    fi
    # flags are words of their own
    # shellcheck disable=SC2086
    exec accord open "$project" --host "${ACCORD_LISTEN:-0.0.0.0}" --port "$port" ${ACCORD_FLAGS---https}
    ;;
health)
    exec python3 -c '
import sys, urllib.request
request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/health", headers={"Host": sys.argv[2]})
sys.exit(urllib.request.urlopen(request, timeout=4).status != 200)
' "$port" "${ACCORD_NAME:-localhost}"
    ;;
*)
    exec accord "$@"
    ;;
esac
