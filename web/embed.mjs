// SPDX-License-Identifier: GPL-2.0-only
// node embed.mjs DIST OUT.c: every file of DIST, compressed, as C arrays for web_assets.h.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { gzipSync } from 'node:zlib';

const LIMIT = 60_000; // bytes on flash and on the wire, all files together
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

const [dist, out] = process.argv.slice(2);

function* files(dir, at = '/') {
  for (const name of readdirSync(dir).sort()) {
    const path = join(dir, name);
    if (statSync(path).isDirectory()) yield* files(path, posix.join(at, name));
    else yield { path, url: posix.join(at, name) };
  }
}

const hex = (bytes) =>
  [...bytes].map((b, i) => (i % 16 ? '' : '\n    ') + `0x${b.toString(16).padStart(2, '0')},`).join('');

let total = 0;
const arrays = [];
const rows = [];

for (const { path, url } of files(dist)) {
  const type = TYPES[posix.extname(url)];
  if (!type) throw new Error(`${url}: no content type is known for it`);
  const raw = readFileSync(path);
  const small = gzipSync(raw, { level: 9 });
  const gzip = small.length < raw.length;
  const body = gzip ? small : raw;
  const etag = createHash('sha256').update(raw).digest('hex').slice(0, 16);
  const served = url === '/index.html' ? '/' : url;

  total += body.length;
  arrays.push(`static const unsigned char asset_${arrays.length}[] = {${hex(body)}\n};\n`);
  rows.push(`    {"${served}", "${type}", "\\"${etag}\\"", ${gzip}, asset_${rows.length}, sizeof(asset_${rows.length})},\n`);
}
if (!rows.length) throw new Error(`${dist} holds no file`);
if (total > LIMIT) throw new Error(`the page takes ${total} bytes compressed, ${LIMIT} are allowed`);

writeFileSync(
  out,
  `/* SPDX-License-Identifier: GPL-2.0-only */
/* Made by web/embed.mjs from the built page: ${total} bytes. */
#include "web_assets.h"

${arrays.join('\n')}
const struct gw_web_asset gw_web_assets[] = {
${rows.join('')}};
const size_t gw_web_asset_count = sizeof(gw_web_assets) / sizeof(gw_web_assets[0]);
`,
);
