// A page in headless Chromium behind a network that can be cut:
// `node browser.mjs PAGE URL USER PAGE_PORT WIRE_PORT`. Listens on WIRE_PORT for the page's connections and
// passes them on. Commands come as lines on standard input, answers as lines on standard output:
// cut | mend | state | replies | send TO TEXT | screenshot FILE | end.
import { readFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import readline from "node:readline";
import { chromium } from "playwright-core";

const [page, target, user, pagePort, wirePort] = process.argv.slice(2);
const { hostname, port, protocol, pathname } = new URL(target);

let isCut = false;
const held = new Set();
const wire = net.createServer((near) => {
  if (isCut) return near.resetAndDestroy();
  const far = net.connect(Number(port), hostname);
  for (const [from, to] of [[near, far], [far, near]]) {
    held.add(from);
    from.pipe(to);
    from.on("error", () => to.destroy());
    from.on("close", () => (held.delete(from), to.destroy()));
  }
});
await new Promise((ready) => wire.listen(Number(wirePort), "127.0.0.1", ready));
const html = readFileSync(page);
const pages = http.createServer((_, answer) => {
  answer.setHeader("content-type", "text/html");
  answer.end(html);
});
await new Promise((ready) => pages.listen(Number(pagePort), "127.0.0.1", ready));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
  ],
});
const tab = await browser.newPage();
const url = `${protocol}//127.0.0.1:${wirePort}${pathname}`;
await tab.goto(`http://127.0.0.1:${pagePort}/?user=${user}&url=${encodeURIComponent(url)}`);

const commands = {
  cut() {
    isCut = true;
    for (const socket of held) socket.resetAndDestroy();
    return "cut";
  },
  mend() {
    isCut = false;
    return "mended";
  },
  state: () =>
    tab.evaluate(() =>
      JSON.stringify({
        state: chat.state,
        seen: chat.seen,
        sent: chat.sent,
        answered: [...chat.answered],
        codes: chat.codes,
      }),
    ),
  replies: () => tab.evaluate(() => ((chat.replies = true), "replies")),
  send: (to, ...words) => tab.evaluate(([to, text]) => (chat.send(to, text), "sent"), [to, words.join(" ")]),
  screenshot: (path) => tab.screenshot({ path }).then(() => "taken"),
  async end() {
    await browser.close();
    process.exit(0);
  },
};
console.log("ready");
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [name, ...rest] = line.split(" ");
  console.log(await commands[name](...rest));
}
await browser.close();
process.exit(0);
