// Numbers and words as a person reads them: at most three significant digits in summaries, units always.

const thin = ' ';

export function digits(v: number, significant = 3): string {
  if (!Number.isFinite(v)) return '–';
  if (v === 0) return '0';
  const size = Math.floor(Math.log10(Math.abs(v)));
  const places = Math.max(0, Math.min(12, significant - 1 - size));
  return v.toLocaleString('en-US', { maximumFractionDigits: places });
}

export function count(v: number): string {
  const abs = Math.abs(v);
  if (abs >= 1e9) return digits(v / 1e9) + thin + 'B';
  if (abs >= 1e6) return digits(v / 1e6) + thin + 'M';
  if (abs >= 1e4) return digits(v / 1e3) + thin + 'k';
  return Math.round(v).toLocaleString('en-US');
}
export const exact = (v: number) => v.toLocaleString('en-US');

export function seconds(v: number | null | undefined): string {
  if (v === null || v === undefined || !Number.isFinite(v)) return '–';
  const abs = Math.abs(v);
  if (abs === 0) return '0 s';
  if (abs < 1e-3) return digits(v * 1e6) + thin + 'µs';
  if (abs < 1) return digits(v * 1e3) + thin + 'ms';
  if (abs < 60) return digits(v) + thin + 's';
  return minutes(v / 60);
}
export const nanos = (v: number | null | undefined) => (v === null || v === undefined ? '–' : seconds(v / 1e9));

export function minutes(v: number): string {
  const s = Math.round(v * 60);
  if (s < 3600) return [part(Math.floor(s / 60), 'min'), part(s % 60, 's')].filter(Boolean).join(' ') || '0 s';
  if (s < 48 * 3600) return [part(Math.floor(s / 3600), 'h'), part(Math.floor((s % 3600) / 60), 'min')].filter(Boolean).join(' ');
  return [part(Math.floor(s / 86400), 'd'), part(Math.floor((s % 86400) / 3600), 'h')].filter(Boolean).join(' ');
}
const part = (n: number, unit: string) => (n ? n + thin + unit : '');

// Short, for a key number: at most three digits and one unit.
export function roughly(v: number): string {
  if (v < 100) return digits(v) + thin + 'min';
  if (v < 48 * 60) return digits(v / 60) + thin + 'h';
  return digits(v / 1440) + thin + 'd';
}

export function percent(v: number | null | undefined, significant = 3): string {
  if (v === null || v === undefined || !Number.isFinite(v)) return '–';
  return digits(v * 100, significant) + thin + '%';
}
// A ratio near one must keep the digits that matter: 99.95 %, not 100 %.
export function sli(v: number | null): string {
  if (v === null) return '–';
  const bad = 1 - v;
  if (bad <= 0) return '100' + thin + '%';
  const places = Math.min(6, Math.max(1, 1 - Math.floor(Math.log10(bad * 100))));
  return (Math.floor(v * 100 * 10 ** places) / 10 ** places).toFixed(places) + thin + '%';
}

export function usd(nano: number | null | undefined): string {
  if (nano === null || nano === undefined) return '–';
  const v = nano / 1e9;
  if (v === 0) return '$0';
  if (Math.abs(v) < 0.01) return '$' + v.toLocaleString('en-US', { maximumSignificantDigits: 2, maximumFractionDigits: 9 });
  if (Math.abs(v) < 1) return '$' + v.toLocaleString('en-US', { maximumSignificantDigits: 3, minimumFractionDigits: 2 });
  if (Math.abs(v) < 1000) return '$' + v.toFixed(2);
  return '$' + digits(v);
}

export const burn = (v: number | null | undefined) => (v === null || v === undefined ? '–' : digits(v) + '×');

export function ago(ms: number, now: number): string {
  const s = Math.max(0, Math.round((now - ms) / 1000));
  if (s < 2) return 'now';
  if (s < 100) return `${s}${thin}s ago`;
  if (s < 5400) return `${Math.round(s / 60)}${thin}min ago`;
  if (s < 48 * 3600) return `${Math.round(s / 3600)}${thin}h ago`;
  return `${Math.round(s / 86400)}${thin}d ago`;
}

const two = (n: number) => String(n).padStart(2, '0');
export function clock(ms: number, withSeconds = false): string {
  const d = new Date(ms);
  return `${two(d.getHours())}:${two(d.getMinutes())}${withSeconds ? ':' + two(d.getSeconds()) : ''}`;
}
export function stamp(ms: number): string {
  const d = new Date(ms);
  const zone = -d.getTimezoneOffset();
  const sign = zone < 0 ? '-' : '+';
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${clock(ms, true)} UTC${sign}${two(Math.floor(Math.abs(zone) / 60))}:${two(Math.abs(zone) % 60)}`;
}
export function change(now: number | null, then: number | null | undefined): number | null {
  if (now === null || then === null || then === undefined || then === 0) return null;
  return now / then - 1;
}
export function changeText(c: number | null): string {
  if (c === null) return '';
  if (Math.abs(c) < 0.005) return '± 0' + thin + '%';
  if (c > 9.99) return '×' + digits(c + 1, 2);
  return (c > 0 ? '+' : '−') + digits(Math.abs(c) * 100, 2) + thin + '%';
}
