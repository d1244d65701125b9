// Bundles the page and writes it as a C table (web/web_assets.h): node build.mjs --out FILE.c [--dir DIR] [--dev]
// Installs nothing. --dir also writes the plain files there, for the mock server of the tests.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const here = dirname(fileURLToPath(import.meta.url));
const argument = (name) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
};
const outFile = argument('--out');
const outDir = argument('--dir');
if (!outFile && !outDir) {
  console.error('usage: node build.mjs --out FILE.c [--dir DIR] [--dev]');
  process.exit(2);
}

let esbuild, marked;
try {
  esbuild = await import('esbuild');
  ({ Marked: marked } = await import('marked'));
} catch {
  console.error(`web/ui/node_modules is missing: run \`npm ci\` in ${here} (./dev does) and build again.`);
  process.exit(1);
}

// What one load may cost, compressed; docs/ui.md.
const LIMITS = { js: 150 * 1024, css: 20 * 1024 };
const dev = process.argv.includes('--dev');
const bundle = async (entry) => {
  const result = await esbuild.build({
    entryPoints: [join(here, 'src', entry)],
    bundle: true,
    write: false,
    outdir: 'out',
    format: 'esm',
    target: ['es2022'],
    minify: !dev,
    jsx: 'automatic',
    jsxImportSource: 'preact',
    loader: { '.css': 'css' },
    legalComments: 'none',
    charset: 'utf8',
    logLevel: 'warning',
  });
  return Object.fromEntries(result.outputFiles.map((f) => [f.path.split('.').pop(), Buffer.from(f.contents)]));
};

const short = (bytes) => createHash('sha256').update(bytes).digest('hex').slice(0, 16);
const built = await bundle('main.tsx').catch(() => process.exit(1));
const assets = [];
const add = (path, type, bytes, immutable) => assets.push({ path, type, bytes, immutable, etag: short(bytes) });
const hashed = (stem, ext, type) => {
  const path = `/assets/${stem}-${short(built[ext])}.${ext}`;
  add(path, type, built[ext], true);
  const size = gzipSync(built[ext], { level: 9 }).length;
  if (size > LIMITS[ext]) {
    console.error(`${path}: ${size} bytes compressed, the limit is ${LIMITS[ext]}`);
    process.exit(1);
  }
  return path;
};
const js = hashed('app', 'js', 'text/javascript; charset=utf-8');
const css = hashed('app', 'css', 'text/css; charset=utf-8');
const icon = readFileSync(join(here, 'src', 'icon.svg'));
const iconPath = `/assets/icon-${short(icon)}.svg`;
add(iconPath, 'image/svg+xml', icon, true);
const html = readFileSync(join(here, 'src', 'index.html'), 'utf8')
  .replaceAll('%JS%', js).replaceAll('%CSS%', css).replaceAll('%ICON%', iconPath);
add('/api/telltale/v1/openapi.json', 'application/json', readFileSync(join(here, 'src', 'openapi.json')), false);
add('/index.html', 'text/html; charset=utf-8', Buffer.from(html), false);

// docs/runbooks as pages of their own, without script. Links to other runbooks lead there; other documents are named only.
const runbooks = join(here, '..', '..', 'docs', 'runbooks');
const renderer = {
  link({ href, tokens }) {
    const text = this.parser.parseInline(tokens), own = /^([A-Za-z0-9-]+)\.md$/.exec(href);
    return own ? `<a href="/runbooks/${own[1]}">${text}</a>` : href.startsWith('../') ? `${text} (docs/${href.slice(3).replace(/#.*/, '')})` : `<a href="${href}">${text}</a>`;
  },
};
for (const file of readdirSync(runbooks).filter((f) => f.endsWith('.md') && f !== 'README.md').sort()) {
  const text = readFileSync(join(runbooks, file), 'utf8'), title = /^# (.+)$/m.exec(text)[1];
  const page = readFileSync(join(here, 'src', 'runbook.html'), 'utf8').replaceAll('%CSS%', css).replaceAll('%ICON%', iconPath)
    .replaceAll('%TITLE%', () => title).replaceAll('%BODY%', () => new marked({ renderer }).parse(text));
  add(`/runbooks/${file.slice(0, -3)}`, 'text/html; charset=utf-8', Buffer.from(page), false);
}

const literal = (bytes) => {
  const lines = [];
  for (let i = 0; i < bytes.length; i += 32) lines.push([...bytes.subarray(i, i + 32)].join(','));
  return lines.join(',\n');
};

if (outFile) {
  let c = '/* Made by web/ui/build.mjs. */\n#include "web/web_assets.h"\n\n';
  assets.forEach((a, i) => {
    const packed = gzipSync(a.bytes, { level: 9 });
    c += `static const uint8_t plain_${i}[] = {${literal(a.bytes)}};\n`;
    c += `static const uint8_t gzip_${i}[] = {${literal(packed)}};\n`;
  });
  c += '\nconst struct web_asset web_assets_table[] = {\n';
  assets.forEach((a, i) => {
    c += `    {"${a.path}", "${a.type}", "\\"${a.etag}\\"", ${a.immutable}, {plain_${i}, sizeof plain_${i}}, {gzip_${i}, sizeof gzip_${i}}},\n`;
  });
  c += `};\nconst size_t web_assets_count = ${assets.length};\n`;
  mkdirSync(dirname(outFile), { recursive: true });
  writeFileSync(outFile, c);
}
if (outDir)
  for (const a of assets) {
    mkdirSync(dirname(join(outDir, a.path)), { recursive: true });
    writeFileSync(join(outDir, a.path), a.bytes);
  }
