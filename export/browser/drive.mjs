// Use the page as a person would, in a headless Chromium, and print what was seen as JSON.
//   node drive.mjs URL CHROMIUM BLOCKS [PICTURE]      (0 blocks: ?check alone)

import { chromium } from "playwright-core";

const PATIENCE = 60_000; // [ms]
const [url, executablePath, blocks, picture] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const seen = { hosts: [], errors: [] };

async function open(query = "", prepare = async () => {}) {
  const page = await browser.newPage({ viewport: { width: 900, height: 1000 } });
  page.on("request", (request) => {
    const { host } = new URL(request.url());
    if (host && !seen.hosts.includes(host)) seen.hosts.push(host);
  });
  page.on("console", (line) => line.type() === "error" && seen.errors.push(line.text()));
  page.on("pageerror", (error) => seen.errors.push(error.message));
  await prepare(page);
  await page.goto(url + query);
  await page.waitForFunction(
    () => document.body.dataset.ready || document.querySelector("#notice").textContent, null,
    { timeout: PATIENCE });
  return page;
}

const notice = (page) => page.locator("#notice").textContent();
const pixels = (page, id) => page.evaluate((name) => {
  const canvas = document.getElementById(name);
  return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
}, id);
const changed = (a, b) => a.filter((x, i) => x !== b[i]).length;
const planned = (page, count) =>
  page.waitForFunction((n) => window.plans.length >= n, Number(count), { timeout: PATIENCE });
const forgotten = (page) =>
  page.waitForFunction(() => window.plans.length === 0, null, { timeout: PATIENCE });
const told = (page) => page.evaluate(() => window.plans);
const slide = (page, id, value) => page.locator(`#${id}`).fill(String(value));

/** Drag what moves in the goal picture, by the middle one of all points where it can be grasped. */
async function drag(page) {
  const spot = await page.evaluate(() => {
    const world = window.stage.scene.goal, found = [];
    for (let y = 0; y < 1; y += 0.01) {
      for (let x = 0; x < 1; x += 0.01) if (world.grasp(x, y)) found.push([x, y]);
    }
    return found[found.length >> 1];
  });
  const box = await page.locator("#goal").boundingBox();
  const at = ([x, y]) => [box.x + x * box.width, box.y + y * box.height];
  const before = await pixels(page, "goal");
  await page.mouse.move(...at(spot));
  await page.mouse.down();
  const [dx, dy] = spot.map((v) => (v < 0.5 ? 0.08 : -0.08));
  await page.mouse.move(...at([spot[0] + dx, spot[1] + dy]), { steps: 8 });
  await page.mouse.up();
  await forgotten(page);
  return changed(before, await pixels(page, "goal"));
}

async function check() {
  const page = await open("?check");
  seen.check = JSON.parse((await page.locator("#check").textContent()) || "null");
  seen.checkNotice = await notice(page);
  await page.close();
}

async function live() {
  const page = await open(), found = { notice: await notice(page) };
  await page.locator("#realtime").uncheck();
  const before = await pixels(page, "live");
  found.distanceBefore = await page.locator("#distance").textContent();
  await page.locator("#run").click();
  await planned(page, blocks);
  await page.locator("#run").click();
  if (picture) await page.screenshot({ path: picture });
  found.moved = changed(before, await pixels(page, "live"));
  found.plans = await told(page);
  found.curve = (await page.locator("#curve").getAttribute("points")).split(" ").length;
  await page.locator("#next").click();
  await forgotten(page);
  found.sizes = [];
  for (const [candidates, iterations] of [[32, 2], [160, 3], [256, 5]]) {
    await slide(page, "candidates", candidates);
    await slide(page, "iterations", iterations);
    await page.locator("#step").click();
    await planned(page, found.sizes.length + 1);
    found.sizes.push((await told(page)).at(-1));
  }
  found.dragged = await drag(page);
  await page.locator("#step").click();
  await planned(page, 1);
  found.noticeAfter = await notice(page);
  await page.close();
  seen.live = found;
}

/** Without MuJoCo. */
async function recorded() {
  const page = await open("", (made) => made.route("**/mujoco.wasm", (route) => route.abort()));
  const found = { notice: await notice(page), hidden: await page.locator("#notice").isHidden() };
  await page.locator("#realtime").uncheck();
  const before = await pixels(page, "live");
  await page.locator("#run").click();
  await planned(page, 3);
  found.moved = changed(before, await pixels(page, "live"));
  found.plans = await told(page);
  await page.close();
  seen.recorded = found;
}

try {
  await check();
  if (Number(blocks)) {
    await live();
    seen.errorsWithScene = [...seen.errors];
    await recorded();
  }
} finally {
  console.log(JSON.stringify(seen));
  await browser.close();
}
