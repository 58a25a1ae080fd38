#!/usr/bin/env bash
# Holds docs/mqtt/asyncapi.yaml against AsyncAPI 3 with the project's own
# parser (the command line tool around it is twenty times as large), and the
# examples against the schemas in it. It needs node and npm, and the network
# once: the parser is kept in the user's cache.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${XDG_CACHE_HOME:-$HOME/.cache}/otad-asyncapi
if [ ! -d "$dir/node_modules/@asyncapi/parser" ]; then
	mkdir -p "$dir"
	npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$dir" @asyncapi/parser@3.6.3 ajv@8 ajv-formats@3 >&2
fi
NODE_PATH=$dir/node_modules exec node build/check-asyncapi.js docs/mqtt/asyncapi.yaml docs/mqtt/examples
