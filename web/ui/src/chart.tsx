// One picture over time, drawn by uPlot: lines labelled at their end, gaps hatched and named, thresholds as labelled levels, drag selects
// a time range. Data is exchanged in place; nothing reflows.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { clock, stamp } from './format';
import { change } from './url';

export interface Line {
  label: string;
  values: (number | null)[];
  color: string; // a CSS custom property: '--p95'
  width?: number;
  dash?: number[];
  fill?: boolean;
  bars?: boolean;
  step?: boolean;
  shown?: (number | null)[]; // what the read-out says, where it is not what is drawn (stacked areas)
}
export interface Level { value: number; label: string; color: string }
export interface Mark { at_ms: number; label: string }
export interface Props {
  title: string;
  note?: string;
  t_ms: number[];
  step_ms: number;
  lines: Line[];
  levels?: Level[];
  format: (v: number) => string;
  log?: boolean;
  zero?: boolean; // amounts begin at zero
  max?: number; // the axis reaches at least this far
  gaps?: (boolean | undefined)[]; // true where nothing is known; default: every line is null
  both?: [number, number, number]; // shade where lines a and b are above this value
  marks?: Mark[]; // moments at which something changed
  zoom?: boolean;
  height?: number;
  empty?: string;
}

const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const font = '12px system-ui, sans-serif';
const sync = uPlot.sync('page');

function gapAt(p: Props, i: number): boolean {
  return p.gaps ? !!p.gaps[i] : p.lines.every((l) => l.values[i] === null || l.values[i] === undefined);
}

function hatch(ctx: CanvasRenderingContext2D, color: string): CanvasPattern | null {
  const tile = document.createElement('canvas');
  tile.width = tile.height = 8;
  const c = tile.getContext('2d')!;
  c.strokeStyle = color;
  c.lineWidth = 1;
  c.beginPath();
  c.moveTo(-2, 10);
  c.lineTo(10, -2);
  c.moveTo(-2, 2);
  c.lineTo(2, -2);
  c.moveTo(6, 10);
  c.lineTo(10, 6);
  c.stroke();
  return ctx.createPattern(tile, 'repeat');
}

function drawGaps(u: uPlot, p: Props): void {
  const { ctx } = u;
  const half = p.step_ms / 2000;
  const pattern = hatch(ctx, css('--hatch'));
  ctx.save();
  for (let i = 0; i < p.t_ms.length; i++) {
    if (!gapAt(p, i)) continue;
    let end = i;
    while (end + 1 < p.t_ms.length && gapAt(p, end + 1)) end++;
    const x0 = Math.max(u.bbox.left, u.valToPos(p.t_ms[i] / 1000 - (i ? half : 0), 'x', true));
    const x1 = Math.min(u.bbox.left + u.bbox.width, u.valToPos(p.t_ms[end] / 1000 + half, 'x', true));
    if (pattern) ctx.fillStyle = pattern;
    ctx.fillRect(x0, u.bbox.top, x1 - x0, u.bbox.height);
    const words = end === p.t_ms.length - 1 ? (i === 0 ? 'no data' : `no data since ${clock(p.t_ms[i])}`) : 'no data';
    ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    const wide = ctx.measureText(words).width;
    if (wide + 12 < x1 - x0) {
      const y = u.bbox.top + u.bbox.height / 2;
      ctx.fillStyle = css('--ground');
      ctx.fillRect((x0 + x1 - wide) / 2 - 4, y - 9 * devicePixelRatio, wide + 8, 18 * devicePixelRatio);
      ctx.fillStyle = css('--quiet');
      ctx.textAlign = 'center';
      ctx.textBaseline = 'middle';
      ctx.fillText(words, (x0 + x1) / 2, y);
    }
    i = end;
  }
  ctx.restore();
}

function drawBoth(u: uPlot, p: Props): void {
  if (!p.both) return;
  const [a, b, above] = p.both;
  const { ctx } = u;
  const half = p.step_ms / 2000;
  ctx.save();
  ctx.fillStyle = css('--bad-wash');
  p.t_ms.forEach((t, i) => {
    const x = p.lines[a].values[i], y = p.lines[b].values[i];
    if (x === null || y === null || x <= above || y <= above) return;
    const x0 = u.valToPos(t / 1000 - half, 'x', true), x1 = u.valToPos(t / 1000 + half, 'x', true);
    ctx.fillRect(Math.max(x0, u.bbox.left), u.bbox.top, x1 - x0, u.bbox.height);
  });
  ctx.restore();
}

function drawLevels(u: uPlot, p: Props): void {
  const { ctx } = u;
  ctx.save();
  ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  for (const l of p.levels ?? []) {
    const y = u.valToPos(l.value, 'y', true);
    if (!(y >= u.bbox.top && y <= u.bbox.top + u.bbox.height)) continue;
    ctx.strokeStyle = ctx.fillStyle = css(l.color);
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(u.bbox.left, y);
    ctx.lineTo(u.bbox.left + u.bbox.width, y);
    ctx.stroke();
    ctx.textAlign = 'left';
    ctx.textBaseline = 'bottom';
    ctx.fillText(l.label, u.bbox.left + 4 * devicePixelRatio, y - 2 * devicePixelRatio);
  }
  ctx.restore();
}

// Upright lines, each named where there is room beside the one before.
function drawMarks(u: uPlot, p: Props): void {
  const { ctx } = u, px = devicePixelRatio;
  ctx.save();
  ctx.font = `${12 * px}px system-ui, sans-serif`;
  ctx.strokeStyle = ctx.fillStyle = css('--quiet');
  ctx.lineWidth = px;
  ctx.textAlign = 'left';
  ctx.textBaseline = 'top';
  let free = u.bbox.left;
  for (const m of [...(p.marks ?? [])].sort((a, b) => a.at_ms - b.at_ms)) {
    const x = u.valToPos(m.at_ms / 1000, 'x', true);
    if (!(x >= u.bbox.left && x <= u.bbox.left + u.bbox.width)) continue;
    ctx.setLineDash([2 * px, 3 * px]);
    ctx.beginPath();
    ctx.moveTo(x, u.bbox.top);
    ctx.lineTo(x, u.bbox.top + u.bbox.height);
    ctx.stroke();
    const words = brief(m.label), wide = ctx.measureText(words).width;
    if (x < free || x + wide + 6 * px > u.bbox.left + u.bbox.width) continue;
    ctx.fillText(words, x + 3 * px, u.bbox.top + 2 * px);
    free = x + wide + 8 * px;
  }
  ctx.restore();
}

// Names beside the last points, pushed apart so that none covers another.
function drawLabels(u: uPlot, p: Props): void {
  const { ctx } = u;
  const px = devicePixelRatio;
  const labels: { y: number; text: string; color: string }[] = [];
  for (const l of p.lines) {
    if (!l.label || l.bars) continue;
    let i = l.values.length - 1;
    while (i >= 0 && (l.values[i] === null || l.values[i] === undefined)) i--;
    if (i < 0) continue;
    const y = u.valToPos(l.values[i] as number, 'y', true);
    if (Number.isFinite(y)) labels.push({ y: Math.min(Math.max(y, u.bbox.top), u.bbox.top + u.bbox.height), text: brief(l.label), color: l.color });
  }
  labels.sort((a, b) => a.y - b.y);
  const gap = 14 * px;
  for (let i = 1; i < labels.length; i++) labels[i].y = Math.max(labels[i].y, labels[i - 1].y + gap);
  for (let i = labels.length - 1, floor = u.bbox.top + u.bbox.height; i >= 0; i--, floor = labels[i + 1].y - gap)
    labels[i].y = Math.min(labels[i].y, floor);
  ctx.save();
  ctx.font = `${12 * px}px system-ui, sans-serif`;
  ctx.textAlign = 'left';
  ctx.textBaseline = 'middle';
  for (const l of labels) {
    ctx.fillStyle = css(l.color + '-text') || css(l.color);
    ctx.fillText(l.text, u.bbox.left + u.bbox.width + 6 * px, l.y);
  }
  ctx.restore();
}

const brief = (label: string) => (label.length > 18 ? label.slice(0, 17) + '…' : label);

function labelWidth(lines: Line[]): number {
  const ctx = document.createElement('canvas').getContext('2d')!;
  ctx.font = font;
  return Math.max(18, ...lines.filter((l) => !l.bars).map((l) => ctx.measureText(brief(l.label)).width + 10));
}

function options(p: Props, width: number, now: () => Props): uPlot.Options {
  const axis = { stroke: () => css('--quiet'), font, ticks: { show: false }, grid: { stroke: () => css('--grid'), width: 1 } };
  return {
    width,
    height: p.height ?? 200,
    padding: [8, Math.min(labelWidth(p.lines), width * 0.34), 0, 0],
    legend: { show: false },
    cursor: {
      sync: { key: sync.key, setSeries: false },
      drag: { x: p.zoom !== false, y: false, setScale: false },
      points: { size: 6 },
    },
    scales: {
      x: { time: true },
      y: {
        distr: p.log ? 3 : 1,
        range: (_u, low, high) => {
          const q = now();
          const top = Math.max(high ?? 0, q.max ?? 0, ...(q.levels ?? []).map((l) => l.value));
          if (q.log) return [Math.max(1e-6, Math.min(low ?? 1, ...(q.levels ?? []).map((l) => l.value)) * 0.7), Math.max(top, 1e-5) * 1.4];
          if (q.zero === false) {
            const pad = ((high ?? 1) - (low ?? 0)) * 0.1 || Math.abs(high ?? 1) * 0.1 || 1;
            return [(low ?? 0) - pad, top + pad];
          }
          return [Math.min(0, low ?? 0), top > 0 ? top * 1.08 : 1];
        },
      },
    },
    axes: [
      { ...axis, space: 70, size: 26, values: (_u, at, _i, _s, step) => at.map((t) => (step >= 86400 ? new Date(t * 1000).toLocaleDateString(undefined, { month: 'short', day: 'numeric' }) : clock(t * 1000))) },
      {
        ...axis,
        size: 62,
        space: 34,
        values: (_u, at) => at.map((v) => (v === null ? '' : now().format(v))),
        ...(p.log ? { filter: (_u: uPlot, at: number[]) => at.map((v) => (/^[125]e/.test(v.toExponential()) && (at.length < 14 || /^1e/.test(v.toExponential())) ? v : null)) } : {}),
      },
    ],
    series: [
      {},
      ...p.lines.map((l): uPlot.Series => ({
        label: l.label,
        stroke: () => css(l.color),
        width: l.bars ? 0 : l.width ?? 1.5,
        dash: l.dash,
        fill: l.fill || l.bars ? () => css(l.color + (l.bars ? '' : '-fill')) || css(l.color) : undefined,
        spanGaps: false,
        points: { show: (u: uPlot, s: number) => isolated(u.data[s] as (number | null)[]), size: 4, fill: () => css(l.color) },
        paths: l.bars ? uPlot.paths.bars!({ size: [0.7, 24], align: 0 }) : l.step ? uPlot.paths.stepped!({ align: 1 }) : undefined,
      })),
    ],
    hooks: {
      drawClear: [(u) => drawGaps(u, now()), (u) => drawBoth(u, now())],
      draw: [(u) => drawMarks(u, now()), (u) => drawLevels(u, now()), (u) => drawLabels(u, now())],
      setSelect: [
        (u) => {
          if (u.select.width < 8) return;
          const from = u.posToVal(u.select.left, 'x') * 1000, to = u.posToVal(u.select.left + u.select.width, 'x') * 1000;
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          const range = Math.max(5, Math.round((to - from) / 60000));
          change({ range, to: Math.ceil(to / 60000) * 60000 });
        },
      ],
    },
  };
}

// A point with gaps on both sides has no line: draw it as a dot.
function isolated(values: (number | null)[]): boolean {
  return values.some((v, i) => v !== null && v !== undefined && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null);
}

const shape = (p: Props) => JSON.stringify([p.lines.map((l) => [l.label, l.color, l.dash, l.bars, l.fill]), p.log, p.height]);

export function Chart(p: Props) {
  const host = useRef<HTMLDivElement>(null);
  const read = useRef<HTMLSpanElement>(null);
  const latest = useRef(p);
  const chart = useRef<uPlot | null>(null);
  latest.current = p;
  const nothing = p.lines.every((l) => l.values.every((v) => v === null || v === undefined));

  const readOut = (u: uPlot) => {
    const q = latest.current;
    const i = u.cursor.idx;
    if (!read.current) return;
    if (i === null || i === undefined || (u.cursor.left ?? -1) < 0) {
      read.current.textContent = '';
      return;
    }
    read.current.textContent = `${stamp(q.t_ms[i])}  ` + q.lines.filter((l) => l.label).map((l) => {
      const v = (l.shown ?? l.values)[i];
      return `${l.label} ${v === null || v === undefined ? 'no data' : q.format(v)}`;
    }).join(' · ');
  };

  useEffect(() => {
    if (!host.current || nothing) return;
    const el = host.current;
    const data = () => [latest.current.t_ms.map((t) => t / 1000), ...latest.current.lines.map((l) => l.values)] as uPlot.AlignedData;
    const o = options(latest.current, el.clientWidth, () => latest.current);
    o.hooks!.setCursor = [readOut];
    const u = (chart.current = new uPlot(o, data(), el));
    const size = new ResizeObserver(() => el.clientWidth && u.setSize({ width: el.clientWidth, height: latest.current.height ?? 200 }));
    size.observe(el);
    const repaint = () => u.redraw(false);
    document.addEventListener('theme', repaint);
    return () => {
      size.disconnect();
      document.removeEventListener('theme', repaint);
      u.destroy();
      chart.current = null;
    };
  }, [shape(p), nothing]);

  useEffect(() => {
    chart.current?.setData([p.t_ms.map((t) => t / 1000), ...p.lines.map((l) => l.values)] as uPlot.AlignedData);
  });

  return (
    <figure class="chart">
      <figcaption>
        <h3>{p.title}</h3>
        {p.note && <span class="note">{p.note}</span>}
        <span class="readout" ref={read} aria-hidden="true" />
      </figcaption>
      {nothing ? <p class="nothing hatch" style={{ height: `${p.height ?? 200}px` }}><span>{p.empty ?? 'no data in this range'}</span></p>
        : <div class="plot" ref={host} role="img" aria-label={describe(p)} style={{ height: `${p.height ?? 200}px` }} />}
    </figure>
  );
}

function describe(p: Props): string {
  const last = p.lines.filter((l) => l.label).map((l) => {
    const known = (l.shown ?? l.values).filter((v): v is number => v !== null && v !== undefined);
    return known.length ? `${l.label}: ${p.format(known[known.length - 1])} now, highest ${p.format(Math.max(...known))}` : `${l.label}: no data`;
  });
  return `${p.title}. ${last.join('; ')}.`;
}
