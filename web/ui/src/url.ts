// The page's whole state is its address: back, forward and a link opened tomorrow show the same.
import { useEffect, useState } from 'preact/hooks';

export interface Place { path: string; params: URLSearchParams }

const read = (): Place => ({ path: location.pathname, params: new URLSearchParams(location.search) });
const listeners = new Set<() => void>();
addEventListener('popstate', () => listeners.forEach((l) => l()));

export function href(path: string, params: URLSearchParams | Record<string, string | number | undefined>): string {
  const all = params instanceof URLSearchParams ? params : new URLSearchParams();
  if (!(params instanceof URLSearchParams))
    for (const [k, v] of Object.entries(params)) if (v !== undefined && v !== '') all.set(k, String(v));
  const text = all.toString();
  return path + (text ? '?' + text : '');
}

export function go(to: string, replace = false): void {
  if (to === location.pathname + location.search) return;
  if (replace) history.replaceState(null, '', to);
  else history.pushState(null, '', to);
  listeners.forEach((l) => l());
}

// Sets some parameters of this page and keeps the rest; undefined or '' takes one away.
export function change(changes: Record<string, string | number | undefined>, replace = false): void {
  const params = new URLSearchParams(location.search);
  for (const [k, v] of Object.entries(changes))
    if (v === undefined || v === '') params.delete(k);
    else params.set(k, String(v));
  go(href(location.pathname, params), replace);
}

export function usePlace(): Place {
  const [place, set] = useState(read);
  useEffect(() => {
    const listen = () => set(read());
    listeners.add(listen);
    return () => void listeners.delete(listen);
  }, []);
  return place;
}

// Links are real links; a plain click stays on the page.
export function follow(e: MouseEvent): void {
  const a = (e.target as Element | null)?.closest?.('a');
  if (!a || e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
  const to = a.getAttribute('href');
  if (!to || !to.startsWith('/') || a.target || a.hasAttribute('download')) return;
  e.preventDefault();
  go(to);
  scrollTo(0, 0);
}
