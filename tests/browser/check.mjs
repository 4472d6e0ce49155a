// The book in a real browser: `node check.mjs BOOK SHOTS LOG LIST`, with the built book, a folder for screenshots, what
// mdBook said, and the exhibits as `lab list --json` has them. `run` calls it.
// Prints a line a check and, at the end, `N passed, N failed`.

import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { extname, join, normalize, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [book, shots, log, list] = process.argv.slice(2);
const root = fileURLToPath(new URL('../..', import.meta.url));
const exhibits = JSON.parse(readFileSync(list, 'utf8'));
const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const THEMES = ['light', 'rust', 'coal', 'navy', 'ayu'];
/** What a chapter's page may weigh beyond mdBook's own files, in bytes. */
const WEIGHT = 500_000;
/** How long a chapter may be, in screens of 1280 by 800. */
const SCREENS = 12;
// mdBook's own furniture is not ours to mend: the side bar, the menu bar with its search and its theme list, the arrows.
const FURNITURE = [
    '#mdbook-sidebar', '#mdbook-menu-bar', '#mdbook-menu-bar-hover-placeholder', '#mdbook-search-wrapper',
    '#mdbook-help-container', '.nav-wrapper', '.nav-wide-wrapper', '#mdbook-sidebar-toggle-anchor',
];

const types = {
    '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.png': 'image/png',
    '.woff2': 'font/woff2', '.json': 'application/json', '.txt': 'text/plain',
};
const server = createServer((request, response) => {
    const path = join(book, normalize(decodeURIComponent(new URL(request.url, 'http://x').pathname)));
    const file = existsSync(path) && statSync(path).isDirectory() ? join(path, 'index.html') : path;
    if (!existsSync(file)) {
        response.writeHead(404).end();
        return;
    }
    response.writeHead(200, { 'content-type': types[extname(file)] || 'application/octet-stream' }).end(readFileSync(file));
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const home = `http://127.0.0.1:${server.address().port}/`;

let passed = 0;
const failures = [];
const took = [];
// PART=0/3 makes every third check: one process waits most of the time, and three keep two cores busy.
const [part, parts] = (process.env.PART || '0/1').split('/').map(Number);
let met = 0;
async function check(name, body) {
    met += 1;
    if (met % parts !== part || !name.match(process.env.MATCH || '')) return;
    const began = performance.now();
    try {
        await body();
        passed += 1;
        console.log(`ok    ${name}`);
    } catch (error) {
        failures.push(name);
        console.log(`FAIL  ${name}\n      ${String(error.message || error).split('\n').slice(0, 12).join('\n      ')}`);
    }
    took.push([(performance.now() - began) / 1000, name]);
}
function holds(condition, otherwise) {
    if (!condition) throw new Error(otherwise);
}

const html = (folder) =>
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) return html(path);
        return entry.name.endsWith('.html') ? [relative(book, path)] : [];
    });
// `toc.html` is mdBook's side bar for readers without JavaScript; `404.html` has links that are meant for a server's root.
// ONLY=stage3 looks at the pages of that name alone; MATCH='the game' makes the checks whose name it matches, and no picture.
const pages = html(book).filter((page) => page.includes(process.env.ONLY || ''))
    .filter((page) => !['toc.html', '404.html'].includes(page)).sort();
const text = Object.fromEntries(pages.map((page) => [page, readFileSync(join(book, page), 'utf8')]));
// `index.html` is the first chapter once more.
const chapters = pages.filter((page) => !['print.html', 'index.html'].includes(page));
const withPlayer = chapters.filter((page) => text[page].includes('class="lanes-player"'));
const withSources = chapters.filter((page) => /data-(trace|graphs|sources)="/.test(text[page]));
const withGame = chapters.filter((page) => text[page].includes('class="scheduler-game"'));

const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--headless', '--disable-gpu', '--disable-quic', '--no-first-run',
        '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

/** Opens a page and gives it to `body`; whatever goes wrong on the way is in `page.troubles`. */
async function open(address, { theme = 'light', width = 1280, height = 900, without = '', ...options } = {}, body) {
    const context = await browser.newContext({ viewport: { width, height }, ...options });
    if (without === 'storage') {
        // mdBook keeps its own things there.
        await context.addInitScript(() => {
            for (const call of ['getItem', 'setItem']) {
                const real = Storage.prototype[call];
                Storage.prototype[call] = function (key, ...rest) {
                    if (key.startsWith('epoll-autopsy')) throw new DOMException('there is none', 'SecurityError');
                    return real.call(this, key, ...rest);
                };
            }
        });
    }
    await context.addInitScript((name) => {
        try {
            localStorage.setItem('mdbook-theme', name);
        } catch {
            // A page of a file has no storage in some browsers.
        }
    }, theme);
    const page = await context.newPage();
    page.troubles = [];
    page.loaded = [];
    page.on('console', (message) => message.type() === 'error' && page.troubles.push(message.text()));
    page.on('pageerror', (error) => page.troubles.push(String(error)));
    page.on('requestfailed', (request) => page.troubles.push(`${request.url()}: ${request.failure()?.errorText}`));
    page.on('response', async (response) => {
        page.loaded.push(response.url());
        if (response.status() >= 400) page.troubles.push(`${response.url()}: ${response.status()}`);
    });
    await page.goto(address.includes('://') ? address : home + address, { waitUntil: 'load' });
    try {
        return await body(page);
    } finally {
        await context.close();
    }
}

async function settled(page) {
    await page.waitForFunction(() =>
        [...document.querySelectorAll('.lanes-player, .scheduler-game')].every((place) => place.classList.contains('live')));
}

/** As a reader of all of it has the page: the runs that are folded are open. */
async function unfolded(page) {
    await settled(page);
    await page.evaluate(() => document.querySelectorAll('details.run').forEach((run) => (run.open = true)));
}

/** The listings have their numbers and are folded: for that their sources were loaded. */
async function listed(page) {
    await settled(page);
    await page.waitForLoadState('networkidle');
    await page.evaluate(() => new Promise((done) => setTimeout(done)));
}

await check('mdbook build gives no warning', () => {
    const warnings = readFileSync(log, 'utf8').split('\n').filter((line) => /WARN|ERROR/.test(line));
    holds(warnings.length === 0, warnings.join('\n'));
});

// Every page.
for (const name of pages) {
    await check(`${name} loads without an error`, () =>
        open(name, {}, async (page) => {
            await settled(page);
            await page.waitForLoadState('networkidle');
            holds(page.troubles.length === 0, page.troubles.join('\n'));
            const elsewhere = page.loaded.filter((url) => !url.startsWith(home) && !url.startsWith('data:'));
            holds(elsewhere.length === 0, `it asks elsewhere: ${elsewhere}`);
        }));
}
for (const name of chapters) {
    await check(`${name} fits into 360 px`, () =>
        open(name, { width: 360, height: 740 }, async (page) => {
            await settled(page);
            const width = await page.evaluate(() => document.documentElement.scrollWidth);
            holds(width <= 360, `it is ${width} px wide`);
        }));
}

for (const name of chapters) {
    await check(`${name} is at most ${SCREENS} screens long`, () =>
        open(name, { width: 1280, height: 800 }, async (page) => {
            await listed(page);
            const height = await page.evaluate(() => document.documentElement.scrollHeight);
            holds(height <= SCREENS * 800, `${(height / 800).toFixed(2)} screens`);
        }));
}

await check('the picture of the player is light', () => {
    const { size } = statSync(join(book, 'player/player.png'));
    holds(size < 100_000, `${size} bytes`);
});

// Links.
await check('every link and anchor holds', async () => {
    const parse = (page) =>
        open(page, {}, (opened) =>
            opened.evaluate(() => ({
                ids: [...document.querySelectorAll('[id], a[name]')].map((at) => at.id || at.name),
                links: [...document.querySelectorAll('a[href], img[src], link[href], script[src]')].map(
                    (at) => at.getAttribute('href') ?? at.getAttribute('src'),
                ),
            })));
    const parsed = {};
    for (const page of pages) parsed[page] = await parse(page);
    const broken = [];
    for (const page of pages) {
        for (const link of new Set(parsed[page].links)) {
            const url = new URL(link, home + page);
            if (!url.href.startsWith(home)) continue;
            const path = decodeURIComponent(url.pathname.slice(1)) || 'index.html';
            if (!existsSync(join(book, path))) broken.push(`${page}: ${link}`);
            const anchor = decodeURIComponent(url.hash.slice(1));
            // A row of a player has no element of its own: `#stage4_broken:15`.
            const [, played] = anchor.match(/^(\w+):\d+$/) || [];
            if (played && text[path]?.includes(`data-trace="traces/${played}.js"`)) continue;
            // A position of a game: it has tests of its own.
            if (anchor.startsWith('game:')) continue;
            if (anchor && parsed[path] && !parsed[path].ids.includes(anchor)) broken.push(`${page}: no anchor ${link}`);
        }
    }
    holds(broken.length === 0, broken.join('\n'));
});

// The player.
const ROWS = '.lab-lanes > li';
/** What the last row says, by the verdict that the catalogue has for the exhibit. */
const ENDS = {
    serves: /served to the end/,
    stops: /and the server stops/,
    hangs: /\(hangs\)/,
    misdelivers: /what was made for the first/,
    never_stops: /\(never stops\)/,
    loses: /\(lost\)/,
    herds: /\(a herd\)/,
};
/** For a recording: what its last row says. */
function ending(recording) {
    const exhibit = exhibits.find((one) => one.file_name === recording.replace('loom_', ''));
    holds(exhibit, `the catalogue knows no ${recording}`);
    const end = exhibit.verdict === 'serves' && exhibit.stops ? 'stops' : exhibit.verdict;
    return ENDS[end] ?? new RegExp(exhibit.ends.match(/^\w+/)[0]);
}
/** What is wrong with the arrows between the lanes: they do not begin and end at their rows, or lie over a text. */
function misplaced(box) {
    return box.evaluate((one) => {
        const rows = [...one.querySelectorAll('.lab-lanes > li')];
        const text = (row) => rows[row - 1].querySelector('.lab-text');
        const texts = rows.flatMap((row) => [...row.querySelector('.lab-text').getClientRects()]);
        const wrong = [];
        for (const arrow of one.querySelectorAll('.lab-arrow')) {
            const [from, to] = arrow.dataset.rows.split(' ').map((row) => text(row).getClientRects()[0]);
            const shaft = arrow.querySelector('.shaft');
            const head = arrow.querySelector('.head').getBoundingClientRect();
            const points = Array.from({ length: Math.floor(shaft.getTotalLength() / 2) }, (_, at) =>
                DOMPoint.fromPoint(shaft.getPointAtLength(2 * at)).matrixTransform(shaft.getScreenCTM()));
            const [first] = points;
            if (!(first.y > from.top && first.y < from.bottom)) wrong.push(`${arrow.dataset.rows} begins elsewhere`);
            if (Math.min(Math.abs(first.x - from.left), Math.abs(first.x - text(arrow.dataset.rows.split(' ')[0]).getBoundingClientRect().right)) > 12) {
                wrong.push(`${arrow.dataset.rows} begins ${first.x}, beside its text`);
            }
            if (!(head.top > to.top - 2 && head.bottom < to.bottom + 2 && Math.abs(head.right - to.left) < 4)) {
                wrong.push(`${arrow.dataset.rows} ends elsewhere`);
            }
            const over = texts.some((rect) => points.some(({ x, y }) => x > rect.left && x < rect.right && y > rect.top && y < rect.bottom));
            if (over) wrong.push(`${arrow.dataset.rows} lies over a text`);
        }
        return wrong;
    });
}
for (const name of withPlayer) {
    const stages = [...text[name].matchAll(/data-trace="traces\/(\w+)\.js"/g)].map((match) => match[1]);
    for (const [at, stage] of stages.entries()) {
        const player = (page) => page.locator('.lanes-player').nth(at);
        const live = (page) => player(page).locator('.lab-live').textContent();
        const atTheEnd = async (page) => {
            const last = await live(page);
            const rows = await player(page).locator(ROWS).count();
            holds(last.startsWith(`Row ${rows} of ${rows}`), last);
            holds(ending(stage).test(last), last);
        };
        await check(`${stage} is stepped to its end by mouse`, () =>
            open(name, {}, async (page) => {
                await unfolded(page);
                const rows = await player(page).locator(ROWS).count();
                for (let row = 1; row < rows; row += 1) await player(page).getByRole('button', { name: 'Next', exact: true }).click();
                await atTheEnd(page);
                await player(page).getByRole('button', { name: 'First', exact: true }).click();
                holds((await live(page)).startsWith('Row 1 of'), 'First goes to the first row');
                await player(page).locator(`${ROWS} button`).nth(3).click();
                holds((await live(page)).startsWith('Row 4 of'), 'a click on a row goes there');
                const now = player(page).locator('[aria-current=step]');
                holds((await now.count()) === 1, 'one row is the current one');
                holds((await player(page).locator('.lab-source .now').count()) === 1, 'a line of the source is shown');
            }));
        await check(`${stage} is stepped to its end by keyboard`, () =>
            open(name, {}, async (page) => {
                await unfolded(page);
                await player(page).locator('.lab-box').focus();
                const rows = await player(page).locator(ROWS).count();
                for (let row = 1; row < rows; row += 1) await page.keyboard.press('ArrowRight');
                await atTheEnd(page);
                await page.keyboard.press('ArrowLeft');
                holds((await live(page)).startsWith(`Row ${rows - 1} of`), 'the left arrow steps back');
                await page.keyboard.press('Home');
                holds((await live(page)).startsWith('Row 1 of'), 'Home goes to the first row');
                await page.keyboard.press('End');
                await atTheEnd(page);
                holds(page.url() === home + name, 'the arrows do not turn the page');
            }));
    }
    await check(`${name} has the last row, the drawing and the source on one screen`, () =>
        open(name, { width: 1280, height: 800 }, async (page) => {
            await unfolded(page);
            for (const [at, stage] of stages.entries()) {
                const box = page.locator('.lanes-player').nth(at).locator('.lab-box');
                await box.getByRole('button', { name: 'Last' }).click();
                await box.evaluate((one) => scrollTo({ top: scrollY + one.getBoundingClientRect().top - 55, behavior: 'instant' }));
                await page.waitForTimeout(400);
                for (const part of ['.lab-lanes > li.now', '.lab-drawing', '.lab-figure figcaption']) {
                    const { y, height } = await box.locator(part).boundingBox();
                    holds(y > 0 && y + height <= 800, `${stage}: ${part} ends at ${y + height}`);
                }
                const { width } = await box.boundingBox();
                holds(width > 900, `${stage}: it is ${width} px wide`);
            }
        }));
    await check(`${name} draws who leads where, and says it too`, () =>
        open(name, {}, async (page) => {
            await unfolded(page);
            for (const [at, stage] of stages.entries()) {
                const box = page.locator('.lanes-player').nth(at).locator('.lab-box');
                const rows = await page.evaluate((path) => window.lab.load(path).then((data) => data.rows), `traces/${stage}.js`);
                const shown = rows.slice(-(await box.locator('.lab-lanes > li').count()));
                for (const [row, [, , , , , [interest, , memory], arrows]] of shown.entries()) {
                    await box.locator('input').fill(String(row));
                    const count = (selector) => box.locator(`.lab-drawing ${selector}`).count();
                    const dangling = arrows.filter(([, , tone]) => tone === 'bad').length;
                    const sockets = (await count('.wire')) - arrows.length;
                    holds(sockets >= 0 && sockets <= 2, `${stage} ${row}: ${sockets} wires more than arrows`);
                    holds((await count('.wire.bad')) === dangling, `${stage} ${row}: ${dangling} arrows dangle`);
                    const armed = interest.filter(([, , tone]) => tone === 'on').length;
                    holds((await count('.lamp.on')) === armed, `${stage} ${row}: ${armed} are armed`);
                    const said = await box.locator('.lab-drawing').getAttribute('aria-label');
                    holds(memory.every(([block]) => said.includes(block)), `${stage} ${row}: ${said}`);
                    holds([...said.matchAll(/which is freed|wakes \S+ in vain/g)].length === dangling, `${stage} ${row}: ${said}`);
                }
            }
        }));
    await check(`${name} leads from lane to lane by arrows in the player, and no further than the present row`, () =>
        open(name, { reducedMotion: 'reduce' }, async (page) => {
            await unfolded(page);
            for (const [at, stage] of stages.entries()) {
                const box = page.locator('.lanes-player').nth(at).locator('.lab-box');
                const { rows, flows } = data(stage);
                const shown = await box.locator(ROWS).count();
                const numbers = ([from, to, name]) => [from, to].map((row) => row + 1 - (rows.length - shown)).concat(name);
                const all = flows.map(numbers).filter(([from]) => from > 0);
                const known = { stage3_broken: '14 15', stage4_broken: '21 22' }[stage];
                const red = all.filter(([, , name]) => name.startsWith('free')).map(([from, to]) => `${from} ${to}`);
                if (known && shown === rows.length) holds(String(red) === known, `${stage}: ${red} are red`);
                if (stage.endsWith('_fixed')) holds(red.length === 0, `${stage}: ${red} are red`);
                for (let row = 1; row <= shown; row += 1) {
                    await box.locator('input').fill(String(row - 1));
                    const drawn = await box.locator('.lab-arrow').evaluateAll((arrows) =>
                        arrows.filter((arrow) => arrow.checkVisibility({ visibilityProperty: true }))
                            .map((arrow) => `${arrow.dataset.rows}${arrow.classList.contains('bad') ? ' red' : ''}`));
                    const due = all.filter(([, to]) => to <= row).map(([from, to, name]) => `${from} ${to}${name.startsWith('free') ? ' red' : ''}`);
                    holds(String(drawn.sort()) === String(due.sort()), `${stage} ${row}: ${drawn}, and not ${due}`);
                    const ink = await box.locator('.lab-arrow.bad .shaft').evaluateAll((all) => all.map((one) => getComputedStyle(one).stroke));
                    const bad = await box.evaluate((one) => {
                        const probe = one.appendChild(Object.assign(document.createElement('i'), { style: 'color: var(--bad)' }));
                        const { color } = getComputedStyle(probe);
                        probe.remove();
                        return color;
                    });
                    holds(ink.every((colour) => colour === bad), `${stage}: ${ink}, and not ${bad}`);
                }
                for (const width of [1280, 1000]) {
                    await page.setViewportSize({ width, height: 900 });
                    let wrong = await misplaced(box);
                    // They are drawn anew when the browser has told of the new sizes.
                    for (let look = 0; wrong.length > 0 && look < 100; look += 1) {
                        await page.waitForTimeout(50);
                        wrong = await misplaced(box);
                    }
                    holds(wrong.length === 0, `${stage} at ${width} px: ${wrong}`);
                }
                await page.setViewportSize({ width: 1280, height: 900 });
            }
        }));
    await check(`${name} says in the player's words what led to a row, where there are no lanes`, () =>
        open(name, { width: 390 }, async (page) => {
            await unfolded(page);
            for (const [at, stage] of stages.entries()) {
                const box = page.locator('.lanes-player').nth(at).locator('.lab-box');
                const { rows, flows } = data(stage);
                const skipped = rows.length - (await box.locator(ROWS).count());
                holds(!(await box.locator('.lab-arrow').evaluateAll((all) => all.some((one) => one.checkVisibility()))), 'an arrow');
                for (const [from, to, called] of flows.filter(([, to]) => to >= skipped)) {
                    const led = box.locator(ROWS).nth(to - skipped).locator('.lab-led');
                    await box.locator('input').fill(String(to - skipped - 1));
                    if (to > skipped) holds(!(await led.isVisible()), `${stage}: it tells what comes: ${called}`);
                    await box.locator('input').fill(String(to - skipped));
                    holds(await led.isVisible(), `${stage}: it does not tell: ${called}`);
                    const step = rows.slice(0, from + 1).filter(([step, role]) => step && role === rows[from][1]).at(-1)?.[0];
                    const done = { queue: 'queued', free: 'freed', unlock: 'unlocked', notify: 'notified' }[called.split(' ')[0]];
                    const words = `${done} by ${rows[from][1]}${step ? ` in step ${step}` : ''}`;
                    const told = [await led.innerText(), await box.locator('.lab-live').innerText()];
                    holds(told.every((text) => text.includes(words)), `${stage}: ${words}: ${told}`);
                }
            }
        }));
    await check(`${name} has the whole file in the player, and the place of each in view`, () =>
        open(name, { reducedMotion: 'reduce' }, async (page) => {
            await unfolded(page);
            for (const [at, stage] of stages.entries()) {
                const box = page.locator('.lanes-player').nth(at).locator('.lab-box');
                const { rows, file } = data(stage);
                const source = data(`${file.match(/(\w+)\.rs/)[1]}.source`);
                const lines = source.filter((line) => !/\/\/ ANCHOR/.test(line));
                const shown = await box.locator('.lab-whole > span').evaluateAll((all) => all.map((one) => one.lastChild.data.slice(1, -1)));
                holds(String(shown) === String(lines), `${stage}: it is not the file`);
                const tall = box.getByRole('button', { name: 'Whole file' });
                const low = (await box.locator('.lab-whole').boundingBox()).height;
                const last = rows.slice(-(await box.locator(ROWS).count()));
                for (const pressed of ['true', 'false']) {
                    await tall.click();
                    holds((await tall.getAttribute('aria-pressed')) === pressed, pressed);
                    const { height } = await box.locator('.lab-whole').boundingBox();
                    holds(pressed === 'true' ? height > low * 1.5 : height === low, `${stage}: ${low} px, then ${height}`);
                    const before = await page.evaluate(() => scrollY);
                    for (const [row, [, role, , , line]] of last.entries()) {
                        await box.locator('input').evaluate((slider, value) => {
                            slider.value = value;
                            slider.dispatchEvent(new Event('input'));
                        }, row);
                        const marks = await box.locator('.lab-whole .marked').evaluateAll((all) =>
                            all.flatMap((one) => [...one.querySelectorAll('.lab-badge')].map((badge) =>
                                `${badge.textContent} ${Number(one.querySelector('.lab-number').textContent)}`)));
                        const due = [...new Set(last.map((other) => other[1]).filter(Boolean))].map((name) => {
                            const own = last.slice(0, row + 1).filter((other) => other[1] === name && (other[4] || other === last[row]));
                            return own.at(-1)?.[4] ? `${name[0].toUpperCase()}${name.replace(/\D/g, '')} ${own.at(-1)[4]}` : null;
                        }).filter(Boolean);
                        holds(String(marks.sort()) === String(due.sort()), `${stage} ${row + 1}: ${marks}, and not ${due}`);
                        const now = box.locator('.lab-whole .now');
                        holds((await now.count()) === (line ? 1 : 0), `${stage} ${row + 1}: ${role} at ${line}`);
                        if (!line) continue;
                        const [inner, outer] = [await now.boundingBox(), await box.locator('.lab-whole').boundingBox()];
                        holds(inner.y >= outer.y && inner.y + inner.height <= outer.y + outer.height, `${stage} ${row + 1}: out of view`);
                    }
                    holds((await page.evaluate(() => scrollY)) === before, `${stage}: the page has moved`);
                }
            }
        }));
    await check(`${name} opens at the row of a link`, async () => {
        const stage = stages[0];
        const at = (row) => open(`${name}#${stage}:${row}`, {}, async (page) => {
            await settled(page);
            // The listener of the last player runs after it has come to life.
            await page.evaluate(() => new Promise((done) => setTimeout(done)));
            const box = page.locator('.lanes-player').first();
            const seen = await box.evaluate((one) => one.getBoundingClientRect().top);
            return [await box.locator('.lab-live').textContent(), await box.locator('.lab-keys a').getAttribute('href'), seen];
        });
        const [said, link, top] = await at(3);
        holds(said.startsWith('Row 3 of') && link === `#${stage}:3`, `${said} ${link}`);
        holds(top >= 0 && top < 200, `the player is ${top} px below the top`);
        holds((await at(0))[0].startsWith('Row 1 of'), 'no row is before the first');
        holds(/^Row (\d+) of \1/.test((await at(9999))[0]), 'no row is after the last');
    });
    await check(`${name} plays by itself, and stops at the end`, () =>
        open(name, {}, async (page) => {
            await page.clock.install();
            await page.reload();
            await unfolded(page);
            const first = page.locator('.lanes-player').first();
            await first.getByRole('button', { name: 'Play' }).click();
            await page.clock.runFor(120_000);
            holds(/^Row (\d+) of \1/.test(await first.locator('.lab-live').textContent()), 'it came to the end');
            await first.getByRole('button', { name: 'Play', exact: true }).waitFor();
        }));
    await check(`${name} works from a folder`, () =>
        open(pathToFileURL(join(book, name)).href, {}, async (page) => {
            await settled(page);
            holds(page.troubles.length === 0, page.troubles.join('\n'));
        }));
    await check(`${name} shows the static figure without JavaScript, and in print`, async () => {
        await open(name, { javaScriptEnabled: false }, async (page) => {
            const figure = page.locator('.lanes-player pre').first();
            const run = page.locator('details.run', { has: figure });
            if ((await run.count()) > 0) await run.locator('summary').first().click();
            holds(await figure.isVisible(), 'no figure');
        });
        await open(name, {}, async (page) => {
            await settled(page);
            await page.emulateMedia({ media: 'print' });
            holds(!(await page.locator('.lab-box').first().isVisible()), 'buttons in print');
            // A run is there once: as its report, or else as its lanes.
            for (const player of await page.locator('.lanes-player').all()) {
                const report = player.locator('xpath=following-sibling::*[1][self::details]').locator('pre');
                const figure = player.locator('.lab-still pre');
                const visible = await Promise.all([report, figure].map(async (one) => (await one.count()) > 0 && one.first().isVisible()));
                const hasText = (await report.count()) + (await figure.count()) > 0;
                holds(!hasText || visible.filter(Boolean).length === 1, `report and lanes in print: ${visible}`);
            }
            for (const details of await page.locator('details').all()) {
                if (await details.evaluate((one) => one.closest('.lab-box'))) continue;
                const [said, printed] = await details.evaluate((one) => {
                    const inside = [...one.children].filter((child) => child.tagName !== 'SUMMARY');
                    return [one.textContent, inside.some((child) => child.checkVisibility({ contentVisibilityAuto: true }))];
                });
                holds(printed, `folded in print: ${said.slice(0, 60)}`);
            }
        });
    });
    await check(`${name} weighs less than ${WEIGHT / 1000} KB beyond mdBook's own files`, () =>
        open(name, {}, async (page) => {
            await settled(page);
            const own = (url) => /\.html$|\/(player|traces|recorded)\//.test(url);
            const files = [...new Set(page.loaded.filter(own))].map((url) => join(book, new URL(url).pathname));
            const sources = page.loaded.filter((url) => url.endsWith('.source.js'));
            holds(sources.length > 0 && sources.length === new Set(sources).size, `each source once: ${sources}`);
            const bytes = files.map((file) => statSync(file).size).reduce((sum, size) => sum + size, 0);
            console.log(`      ${bytes} bytes in ${files.length} files`);
            holds(bytes < WEIGHT, `${bytes} bytes`);
        }));
}


// Runs that are folded, and listings.
for (const name of withPlayer.filter((page) => text[page].includes('class="run"'))) {
    await check(`${name} opens a folded run by its summary, and by a link to one of its rows`, async () => {
        const runs = (page) => page.locator('details.run');
        await open(name, {}, async (page) => {
            await settled(page);
            for (const run of await runs(page).all()) {
                const box = run.locator('.lab-box');
                holds(!(await box.isVisible()), 'it is open at first');
                await run.locator('summary').first().focus();
                await page.keyboard.press('Enter');
                await box.getByRole('button', { name: 'Last' }).click();
                holds(/^Row (\d+) of \1/.test(await box.locator('.lab-live').textContent()), 'it cannot be stepped');
                await page.waitForTimeout(400);
                const seen = await box.locator('.lab-lanes').evaluate((list) => {
                    const [frame, now] = [list, list.querySelector('.now')].map((at) => at.getBoundingClientRect());
                    return frame.height > 0 && now.top >= frame.top - 1 && now.bottom <= frame.bottom + 1;
                });
                holds(seen, 'the last row is out of sight');
            }
        });
        const stages = await open(name, {}, (page) =>
            page.$$eval('details.run .lanes-player', (all) => all.map(({ dataset }) => dataset.trace.match(/(\w+)\.js$/)[1])));
        for (const [at, stage] of stages.entries()) {
            await open(`${name}#${stage}:3`, {}, async (page) => {
                await settled(page);
                const box = runs(page).nth(at).locator('.lab-box');
                await box.waitFor({ state: 'visible', timeout: 3000 });
                const said = await box.locator('.lab-live').textContent();
                holds(/^Row [123] of/.test(said), said);
                await page.waitForFunction((one) => one.getBoundingClientRect().top < 200, await box.elementHandle(), { timeout: 3000 });
            });
        }
    });
}
for (const name of withSources) {
    await check(`${name} numbers its listings, and its reports lead to their lines`, () =>
        open(name, {}, async (page) => {
            await listed(page);
            const wrong = await page.evaluate(async () => {
                const wrong = [];
                for (const line of document.querySelectorAll('.lab-line[id]')) {
                    const [, stage, number] = line.id.match(/^(\w+)-(\d+)$/);
                    const source = await window.lab.load(`traces/${stage}.source.js`);
                    if (`${source[number - 1]}\n` !== line.textContent || line.dataset.line !== number) wrong.push(line.id);
                }
                for (const link of document.querySelectorAll('pre a:is([href^="#stage"], [href^="#cpp_"])')) {
                    const target = document.querySelector(link.getAttribute('href'));
                    const [, stage, kind, number] = link.textContent.match(/(\w+)\.(rs|cpp):(\d+)$/);
                    if (target?.id !== `${kind === 'cpp' ? 'cpp_' : ''}${stage}-${number}` || !target.classList.contains('guilty')) wrong.push(link.textContent);
                }
                return wrong;
            });
            holds(wrong.length === 0, wrong.join(' '));
            const listings = await page.locator('.lab-listing').count();
            const some = ['introduction.html', 'loom.html'].includes(name) ? 0 : 1;
            holds(listings >= some, `${listings} listings have numbers`);
            const without = await page.$$eval('pre > code:is(.language-rust, .language-cpp):not(.lab-listing)', (all) => all.length);
            holds(without === 0, `${without} listings have none`);
            if (name.endsWith('_cpp.html')) {
                const places = page.locator('pre a', { hasText: /^stage\d_broken\.cpp:\d+$/ });
                holds((await places.count()) > 0, 'no line of a sanitizer leads to the listing');
            }
            if (name === 'stage4.html') {
                await page.locator('details.report summary').first().click();
                const link = page.locator('pre a', { hasText: 'stage4_broken.rs:141' }).first();
                await link.click();
                holds(await page.locator('#stage4_broken-141').evaluate((line) => line.matches(':target')), 'the line is the target');
            }
        }));
}
/** Whether a page has a listing that could be folded. */
const isLong = (page) => [...text[page].matchAll(/<code class="language-(?:rust|diff)[^>]*>([^]*?)<\/code>/g)].some(([, code]) => code.split('\n').length > 21);
for (const name of chapters.filter(isLong)) {
    await check(`${name} folds its long listings, and opens them`, async () => {
        const gone = '.lab-away[hidden]';
        const hiddenLine = (page) => page.evaluate(() => document.querySelector('.lab-away[hidden] .lab-line[id]')?.id);
        const isSeen = (page, id) =>
            page.locator(`#${id}`).evaluate((line) => {
                const { top, bottom } = line.getBoundingClientRect();
                return line.checkVisibility({ contentVisibilityAuto: true, visibilityProperty: true }) && top > 0 && bottom < innerHeight;
            });
        const id = await open(name, { height: 800 }, async (page) => {
            await listed(page);
            for (const code of await page.locator('pre > code:is(.language-rust, .language-diff)').all()) {
                const [lines, away] = await code.evaluate((one, hidden) =>
                    [one.textContent.trimEnd().split('\n').length, one.querySelectorAll(`${hidden} .lab-line`).length], gone);
                holds(lines - away <= 32, `${lines - away} lines of ${lines} are shown`);
                const [matter, lost] = await code.evaluate((one, hidden) =>
                    ['.guilty', `${hidden} .guilty`].map((mark) => one.querySelectorAll(mark).length), gone);
                holds(lost === 0, `${lost} of ${matter} guilty lines are hidden`);
                if (away === 0) continue;
                const button = code.locator('xpath=../following-sibling::button[1]');
                const state = async (open) => {
                    holds((await button.getAttribute('aria-expanded')) === String(open), `aria-expanded is not ${open}`);
                    const still = await code.locator(gone).count();
                    holds(open === (still === 0), `${still} parts are hidden`);
                    const said = open ? 'Show fewer lines' : `Show all ${lines} lines`;
                    holds((await button.textContent()) === said, await button.textContent());
                    const rows = await code.locator('.lab-line').evaluateAll((all) =>
                        all.filter((row) => row.checkVisibility({ contentVisibilityAuto: true })).length);
                    holds(rows === (open ? lines : lines - away), `${rows} of ${lines} lines are seen`);
                };
                if (!(await button.isVisible())) continue;
                await state(false);
                await button.click();
                await state(true);
                await button.focus();
                await page.keyboard.press('Enter');
                await state(false);
                await page.keyboard.press('Space');
                await state(true);
                await button.click();
                holds(await button.evaluate((one) => one.getBoundingClientRect().top > 40), 'the button is out of sight');
                // What is copied is all of it.
                await code.locator('xpath=..').locator('.clip-button').dispatchEvent('click');
                await state(true);
                await button.click();
            }
            return hiddenLine(page);
        });
        await open(name, { width: 390, height: 800 }, async (page) => {
            await listed(page);
            for (const button of await page.locator('.lab-unfold:visible').all()) {
                const { height } = await button.boundingBox();
                holds(height >= 44, `the button is ${height} px high`);
            }
        });
        await open(name, {}, async (page) => {
            await listed(page);
            await page.emulateMedia({ media: 'print' });
            const lost = await page.locator('.lab-line').evaluateAll((all) =>
                all.filter((row) => !row.checkVisibility({ contentVisibilityAuto: true }) || row.getBoundingClientRect().height < 5).length);
            holds(lost === 0, `${lost} lines are not printed`);
            const more = await page.locator('.lab-unfold:visible, .lab-gap:visible').count();
            holds(more === 0, `${more} buttons and gaps are printed`);
        });
        await open(name, { javaScriptEnabled: false }, async (page) => {
            const cut = await page.$$eval('pre > code:is(.language-rust, .language-diff)', (all) => all.filter((code) => {
                const [lines, pre] = [code.textContent.trimEnd().split('\n').length, code.parentElement];
                const isWhole = code.getBoundingClientRect().height > 12 * lines && pre.scrollHeight <= pre.clientHeight + 20;
                return !code.closest('details') && !isWhole;
            }).length);
            holds(cut === 0, `${cut} listings are not whole without JavaScript`);
        });
        if (!id) return;
        await open(`${name}#${id}`, { height: 800 }, async (page) => {
            await listed(page);
            await page.waitForFunction(() => !document.querySelector('.lab-away[hidden] .lab-line:target'));
            holds(await isSeen(page, id), `a link from elsewhere does not show ${id}`);
        });
        await open(name, { height: 800 }, async (page) => {
            await listed(page);
            await page.evaluate((to) => (location.hash = to), id);
            await page.waitForTimeout(300);
            holds(await isSeen(page, id), `a link of the page does not show ${id}`);
        });
        // What the browser's own search does when it has found something there.
        await open(name, { height: 800 }, async (page) => {
            await listed(page);
            const opened = await page.locator(`#${id}`).evaluate((line) => {
                const away = line.closest('.lab-away');
                if (away.getAttribute('hidden') !== 'until-found') return false;
                away.dispatchEvent(new Event('beforematch', { bubbles: true }));
                return line.closest('code').querySelector('.lab-away[hidden]') === null;
            });
            holds(opened, 'the search does not open it');
        });
    });
}
if (text['compiler.html']) await check('compiler.html has rustc\'s messages in its colours, word for word, and legible in each theme', async () => {
    for (const theme of THEMES) {
        await open('compiler.html', { theme }, async (page) => {
            await listed(page);
            await page.evaluate(() => document.querySelectorAll('details').forEach((one) => (one.open = true)));
            const messages = page.locator('.lab-rustc');
            holds((await messages.count()) === text['compiler.html'].match(/error\[E\d+\]: .*\n *--&gt; /g).length, `${await messages.count()} messages`);
            for (const message of await messages.all()) {
                const plain = await message.evaluate((one) => one.textContent);
                const kept = text['compiler.html'].replaceAll('&gt;', '>').replaceAll('&lt;', '<').replaceAll('&amp;', '&').replaceAll('&quot;', '"').replaceAll('&#39;', "'");
                holds(kept.includes(plain.trimEnd()), `another text: ${plain.slice(0, 80)}`);
                const of = (tone) => message.locator(`.lab-rustc-${tone}`).allTextContents();
                holds(/^error\[E\d+\]/.test((await of('error'))[0]), String(await of('error')));
                holds((await of('error')).some((part) => part.startsWith('^')), 'no caret is red');
                holds((await of('place')).some((part) => part.includes('-->')), 'no arrow is blue');
                // What the carets are about is said in their colour, up to the first note.
                const place = await of('place');
                holds(!place.some((part) => part.includes('^')), `carets in blue: ${place}`);
            }
            await violations(page);
        });
    }
});

// The game.
function data(file) {
    let found;
    new Function('labData', readFileSync(join(book, `traces/${file}.js`), 'utf8'))((_, data) => (found = data));
    return found;
}
const graph = (stage) => data(`${stage}.game`);
/** The order that the chapter explains, by who moves; it stands beside the graphs. */
const explained = (name) => text[name].match(/data-order="([^"]+)"/)[1].split(' ');

/** A walk through a graph for one of its goals: what the page is to show of it. */
class Walk {
    constructor(graph, goal = 0) {
        Object.assign(this, { graph, goal, at: graph.head.start, passes: [], moves: [], closed: null });
        const bits = ({ checkpoints, guilty }) => checkpoints.length + guilty.length;
        this.bit = graph.head.goals.slice(0, goal).reduce((sum, other) => sum + bits(other), 0);
    }

    get aims() {
        return [...this.graph.head.goals[this.goal].checkpoints, this.graph.head.goals[this.goal].end];
    }

    get node() {
        return this.graph.nodes[this.at];
    }

    after(move) {
        let passed = this.passes.length;
        while (passed < this.aims.length - 1 && (move[5] >> (this.bit + passed)) & 1) passed += 1;
        return passed;
    }

    /** Below 0 where the goal is out of reach after that move. */
    far(move) {
        return this.graph.far[this.goal][this.after(move)][move[4]];
    }

    open() {
        return this.node[2].filter((move) => this.far(move) >= 0);
    }

    nearest() {
        return this.open().sort((one, other) => this.far(one) - this.far(other))[0];
    }

    /** Which moves the goal's guilty ones are: the last of either kind. */
    guilty() {
        const { checkpoints, guilty } = this.graph.head.goals[this.goal];
        const bit = this.bit + checkpoints.length;
        return guilty.map((_, at) => this.moves.findLastIndex((move) => (move[5] >> (bit + at)) & 1));
    }

    take(move) {
        if (this.closed === null && this.far(move) < 0) {
            this.closed = { number: this.moves.length + 1, move, lacking: -this.far(move) - 1, kept: this.open() };
        }
        for (let passed = this.after(move); this.passes.length < passed;) this.passes.push(this.moves.length + 1);
        this.moves.push(move);
        this.at = move[4];
    }

    of(role) {
        return this.node[2].find((move) => move[0] === role);
    }

    schedule() {
        const steps = this.moves.filter((move) => move[1] !== null).map((move) => this.graph.texts[move[1]]);
        return [...this.graph.head.plans, ...steps].map((line) => `${line}\n`).join('');
    }

    static shortest(graph, goal = 0) {
        const walk = new Walk(graph, goal);
        while (walk.node[2].length > 0) walk.take(walk.nearest());
        return walk;
    }

    /** At random, and to the goal. */
    static some(graph, goal, seed) {
        const walk = new Walk(graph, goal);
        const random = numbers(seed * 7_919);
        while (walk.node[2].length > 0) walk.take(walk.open()[random.next().value % walk.open().length]);
        return walk;
    }
}
/** Numbers that look random, and are the same in every run. */
function* numbers(seed) {
    for (;;) yield (seed = (seed * 48_271) % 2_147_483_647);
}

for (const name of withGame) {
    const [broken, fixed] = text[name].match(/data-graphs="([^"]+)"/)[1].split(' ')
        .map((path) => path.match(/(\w+)\.game\.js/)[1]);
    const of = graph(broken);
    const game = (page) => page.locator('.scheduler-game');
    const live = (page) => game(page).locator('.lab-live').textContent();
    const choice = (page, role) => game(page).locator('.lab-choices button').nth(role);
    const press = (page, label) => game(page).getByRole('button', { name: label, exact: true }).click();
    const closed = (page) => game(page).locator('.lab-closed').innerText();
    const rows = (page) => game(page).locator(ROWS).count();
    /** Plays a walk's moves by mouse, and its goal. */
    const play = async (page, walk) => {
        if (walk.goal > 0) await press(page, `Goal ${walk.goal + 1}`);
        for (const [role] of walk.moves) await choice(page, role).click();
    };
    const verdict = (walk) => {
        const [kind, words] = walk.node[3];
        return `${kind[0].toUpperCase()}${kind.slice(1)}: ${of.texts[words]}`;
    };

    await check(`the game of ${broken} comes to its end by the chapter's order, and takes it back`, () =>
        open(name, {}, async (page) => {
            await settled(page);
            const walk = new Walk(of);
            for (const role of explained(name)) {
                const index = of.head.roles.indexOf(role);
                holds((await choice(page, index).getAttribute('aria-disabled')) === 'false', `${role} cannot move`);
                walk.take(walk.of(index));
                await choice(page, index).click();
            }
            holds((await live(page)).startsWith(verdict(walk)), await live(page));
            const kind = { use: 'Crash', double: 'Crash', client: 'Wrong reply', something: 'Hang', nobody: 'Never stops', one: 'Herd' };
            const words = verdict(walk).split(': ');
            holds(kind[words[1].split(' ')[0]] === words[0], `what is it called: ${words}`);
            await press(page, 'Undo');
            holds(!(await live(page)).startsWith(verdict(walk)), 'undone');
            holds((await game(page).locator('.lab-win').innerText()) === '', 'nothing is won any more');
            holds((await game(page).locator('.guilty-from, .lab-guilt').count()) === 0, 'nobody is guilty any more');
        }));
    for (const [goal, { guilty, fewest, name: called }] of of.head.goals.entries()) {
        const walk = Walk.shortest(of, goal);
        const said = `goal ${called} of ${broken}`;
        await check(`${said}: who wins sees the two guilty moves, their source, and how to run the order`, () =>
            open(name, {}, async (page) => {
                await settled(page);
                await play(page, walk);
                holds((await live(page)).includes(`You needed ${fewest} moves. No order is shorter.`), await live(page));
                const at = walk.guilty();
                for (const [index, what] of guilty.entries()) {
                    const row = game(page).locator(ROWS).nth(at[index]);
                    holds((await row.innerText()).includes(what), `row ${at[index] + 1} is ${what}`);
                    const figure = game(page).locator('.lab-guilty > div').nth(index);
                    const [role, , line, did] = walk.moves[at[index]];
                    const told = `move ${at[index] + 1}, ${of.head.roles[role]} ${of.texts[did]}`;
                    holds((await figure.innerText()).includes(told), `it tells: ${told}`);
                    if (line > 0) {
                        const now = await figure.locator('.lab-source .now').innerText();
                        holds(now.trim().startsWith(String(line)), `line ${line}: ${now}`);
                    }
                }
                const joined = await game(page).locator(ROWS).evaluateAll((all) => all.map((row) => row.className));
                const [from, to] = [Math.min(...at), Math.max(...at)];
                joined.forEach((names, index) => {
                    const is = { from: index === from, between: index > from && index < to, to: index === to };
                    for (const [end, holdsThere] of Object.entries(is)) {
                        holds(names.includes(`guilty-${end}`) === holdsThere, `row ${index + 1}: ${names}`);
                    }
                });
                // The end is scrolled to.
                await page.waitForFunction(() => {
                    const list = document.querySelector('.scheduler-game .lab-lanes');
                    return list.lastChild.getBoundingClientRect().bottom <= list.getBoundingClientRect().bottom + 1;
                }, undefined, { timeout: 5000 });
                const [download] = await Promise.all([page.waitForEvent('download'), game(page).locator('a[download]').click()]);
                holds(download.suggestedFilename() === of.head.schedule, download.suggestedFilename());
                const file = readFileSync(await download.path(), 'utf8');
                holds(file === walk.schedule(), `the file:\n${file}`);
                const command = await game(page).locator('.lab-command').innerText();
                const plain = command.replace(/ --workers \d/, '');
                holds(plain === `cargo run --bin ${broken} -- --schedule ${of.head.schedule}`, command);
                const next = await game(page).getByRole('link', { name: 'To the next chapter' }).getAttribute('href');
                const number = (page) => Number(page.match(/stage(\d+)/)[1]);
                holds(number(next) === number(name) + 1, next);
            }));
        await check(`${said}: the file of a won game, run, names the position where it was won`, () => {
            const walk = Walk.some(of, goal, 5);
            const file = join(shots, of.head.schedule);
            writeFileSync(file, walk.schedule());
            const workers = of.head.command.match(/--workers \d/)?.[0].split(' ') ?? [];
            const run = ['run', '--quiet', '--bin', broken, '--', ...workers, '--schedule', file];
            const { stdout } = spawnSync('cargo', run, { cwd: root, encoding: 'utf8' });
            const [, link] = stdout.match(/^ *play it in the book: (\S+)$/m) ?? [];
            holds(link?.startsWith(`${name}#game:${broken}:`), `${link}\n${stdout}`);
            return open(link, {}, async (page) => {
                await settled(page);
                holds((await live(page)).startsWith(verdict(walk)), await live(page));
                holds((await game(page).locator('.lab-win').innerText()).startsWith('Reached: '), 'it is not won');
                const panel = await game(page).locator('.lab-panel li').allInnerTexts();
                const told = of.panels[walk.node[0]].flat().map(([row, detail]) => `${row}${detail ? ` ${detail}` : ''}`);
                holds(panel.join('; ') === told.join('; '), `${panel.join('; ')}, and it was won at ${told.join('; ')}`);
            });
        });
        for (const width of [1280, 390]) {
            await check(`${said}: hints lead there in three grades, by keyboard, at ${width} px`, () =>
                open(name, { width }, async (page) => {
                    await settled(page);
                    if (goal > 0) await press(page, `Goal ${goal + 1}`);
                    const hint = game(page).getByRole('button', { name: 'Hint' });
                    const hinted = game(page).locator('.hinted');
                    const along = new Walk(of, goal);
                    for (const move of walk.moves) {
                        const [aim, how] = along.aims[along.passes.length];
                        const who = of.head.roles[move[0]];
                        await hint.focus();
                        await page.keyboard.press('Enter');
                        holds((await live(page)) === `Hint, the aim: ${aim}. ${how}`, await live(page));
                        holds((await hinted.count()) === 0, 'the aim alone');
                        await page.keyboard.press('Enter');
                        holds((await live(page)) === `Hint, who: ${who}.`, await live(page));
                        holds((await hinted.innerText()).includes(who), `${who} is marked`);
                        await page.keyboard.press('Enter');
                        holds((await live(page)).startsWith(`Hint, the move: ${who} ${of.texts[move[3]]}. `), await live(page));
                        await page.keyboard.press(String(move[0] + 1));
                        along.take(move);
                    }
                    holds((await live(page)).startsWith(verdict(walk)), await live(page));
                    // By keyboard alone one comes to what is won.
                    const download = game(page).locator('a[download]');
                    for (let tab = 0; tab < 40 && !(await download.evaluate((at) => at === document.activeElement)); tab += 1) {
                        await page.keyboard.press('Tab');
                    }
                    holds(await download.evaluate((at) => at === document.activeElement), 'Tab does not come to the download');
                    await page.keyboard.press('Backspace');
                    holds(!(await live(page)).startsWith(verdict(walk)), 'undone by keyboard');
                }));
        }
        await check(`${said}: in longer orders too the guilty moves are the last ones`, () =>
            open(name, {}, async (page) => {
                await settled(page);
                for (let seed = 1; seed <= 8; seed += 1) {
                    const some = Walk.some(of, goal, seed);
                    const called = of.head.goals[goal].name;
                    const to = `#game:${broken}${goal > 0 ? `.${called}` : ''}:${some.moves.map((move) => move[0])}`;
                    await page.evaluate((hash) => (location.hash = hash), to);
                    await page.waitForFunction((hash) =>
                        document.querySelector('.scheduler-game .lab-keys a').getAttribute('href') === hash, to);
                    const shown = await game(page).locator(ROWS).evaluateAll((all) =>
                        all.flatMap((row, at) => (row.querySelector('.lab-guilt') ? [at] : [])));
                    holds(String(shown) === String(some.guilty().sort((one, other) => one - other)), `${to}: rows ${shown}`);
                }
            }));
        await check(`${said}: each checkpoint is ticked when it is passed`, () =>
            open(name, {}, async (page) => {
                await settled(page);
                if (goal > 0) await press(page, `Goal ${goal + 1}`);
                const along = new Walk(of, goal);
                for (const move of [null, ...walk.moves]) {
                    if (move) {
                        along.take(move);
                        await choice(page, move[0]).click();
                    }
                    const list = await game(page).locator('.lab-checkpoints li').allInnerTexts();
                    const over = along.node[3] !== null;
                    along.aims.forEach(([aim], at) => {
                        const number = along.passes[at] ?? along.moves.length;
                        const done = at < along.passes.length || (over && at === along.passes.length);
                        const sign = done ? '✓' : at === along.passes.length ? '→' : '○';
                        const capital = aim[0].toUpperCase() + aim.slice(1);
                        const due = `${sign} ${capital}${done ? ` (move ${number})` : ''}`;
                        holds(list[at] === due, `${list[at]}, and not: ${due}`);
                    });
                }
            }));
        await check(`${said}: a dead end names the move that closed it, stays, and is taken back`, () =>
            open(name, {}, async (page) => {
                await settled(page);
                if (goal > 0) await press(page, `Goal ${goal + 1}`);
                for (let seed = 1; seed <= 6; seed += 1) {
                    const random = numbers(seed * 7_919);
                    const along = new Walk(of, goal);
                    while (along.node[2].length > 0) {
                        const moves = along.node[2];
                        const move = moves[random.next().value % moves.length];
                        along.take(move);
                        await choice(page, move[0]).click();
                        const said = await closed(page);
                        if (along.closed === null) {
                            holds(said === '', `still open: ${said}`);
                            continue;
                        }
                        const { number, move: [role, , , did], lacking, kept } = along.closed;
                        holds(said.startsWith(`Move ${number} has closed it: ${of.head.roles[role]} ${of.texts[did]}.`), said);
                        const [aim, how] = along.aims[lacking];
                        holds(said.includes(`no order comes to this: ${aim}. ${how}`), `not ${aim}: ${said}`);
                        const others = kept.map(([other, , , does]) => `${of.head.roles[other]} (${of.texts[does]})`);
                        holds(said.includes(`this would have kept it open: ${others.join('; or ')}.`), `${others}: ${said}`);
                        holds(kept.length > 0 && said.includes('That move left: '), said);
                    }
                    if (along.closed === null) {
                        await press(page, 'Start again');
                        continue;
                    }
                    await press(page, `Take back to before move ${along.closed.number}`);
                    holds((await closed(page)) === '', 'it is open again');
                    holds((await rows(page)) === along.closed.number - 1, 'taken back too far, or not far enough');
                    await press(page, 'Start again');
                }
            }));
        await check(`${said}: that it was reached is kept, and a browser that keeps nothing plays on`, async () => {
            await open(name, {}, async (page) => {
                await settled(page);
                const kept = game(page).locator('.lab-kept');
                holds((await kept.count()) === 0, 'it is reached before it began');
                await play(page, walk);
                await press(page, 'Start again');
                holds((await kept.count()) === 1, 'reached');
                await page.goto(home + name);
                await page.reload();
                await settled(page);
                holds((await kept.count()) === 1, 'it is forgotten');
                for (const spoilt of ['no JSON', '7', 'null', `{"${broken}":7}`]) {
                    await page.evaluate((text) => localStorage.setItem('epoll-autopsy-game', text), spoilt);
                    await page.reload();
                    await settled(page);
                    holds((await kept.count()) === 0, `kept: ${spoilt}`);
                }
            });
            await open(name, { without: 'storage' }, async (page) => {
                await settled(page);
                await play(page, walk);
                holds((await live(page)).startsWith(verdict(walk)), await live(page));
                holds(page.troubles.length === 0, page.troubles.join('\n'));
            });
        });
        await check(`${said}: a position is a link`, async () => {
            const some = walk.moves.slice(0, 6);
            const hash = `#game:${broken}${goal > 0 ? `.${called}` : ''}:${some.map((move) => move[0])}`;
            const seen = await open(name, {}, async (page) => {
                await settled(page);
                await play(page, Object.assign(new Walk(of, goal), { moves: some }));
                const link = await game(page).getByRole('link', { name: 'Link to this position' }).getAttribute('href');
                holds(link === hash && page.url() === home + name + hash, `${link}, ${page.url()}`);
                const panel = await game(page).locator('.lab-panel').innerText();
                await press(page, 'Start again');
                holds(page.url() === home + name, `at the beginning: ${page.url()}`);
                // Another position while the page is open.
                await page.evaluate((to) => (location.hash = to), hash);
                await page.waitForFunction((count) => document.querySelectorAll('.scheduler-game .lab-lanes > li').length === count, 6);
                return panel;
            });
            await open(name + hash, {}, async (page) => {
                await settled(page);
                holds((await rows(page)) === some.length, 'it is not walked there');
                holds((await game(page).locator('.lab-panel').innerText()) === seen, 'another state');
                holds((await game(page).locator('.lab-checkpoints').innerText()).includes(walk.aims[0][0].slice(1)), 'another goal');
                for (const { 0: role } of walk.moves.slice(6)) await choice(page, role).click();
                holds((await live(page)).startsWith(verdict(walk)), await live(page));
            });
        });
    }
    await check(`the game of ${broken} begins anew where a link leads to no position`, async () => {
        // A thread of the server has nothing to do yet in most of them; nobody has the number 9.
        const stuck = of.head.roles.findIndex((_, role) => !new Walk(of).of(role));
        for (const hash of [`${broken}:9`, `${broken}:${stuck}`, `${broken}:0,0,0,0,0,0,0`, `${broken}.nothing:0`, `${broken}:0,`,
            'stage99_broken:0', 'x', ':', `${fixed}.break:0`]) {
            await open(`${name}#game:${hash}`, {}, async (page) => {
                await settled(page);
                holds((await live(page)).startsWith('The link leads to no position: '), `${hash}: ${await live(page)}`);
                holds((await rows(page)) === 0 && page.url() === home + name, `${hash}: ${page.url()}`);
                holds(page.troubles.length === 0, page.troubles.join('\n'));
            });
        }
        await open(`${name}#game:${fixed}:0`, {}, async (page) => {
            await settled(page);
            holds((await rows(page)) === 1, 'the twin has positions too');
        });
    });
    await check(`the game of ${broken} shows what each move would do, who is blocked, and where everybody stands`, () =>
        open(name, {}, async (page) => {
            await settled(page);
            for (const spoken of ['.lab-live', '.lab-closed']) {
                holds((await game(page).locator(spoken).getAttribute('aria-live')) === 'polite', `${spoken} is not read out`);
            }
            const lines = data(`${broken}.source`);
            const shown = await game(page).locator('.lab-whole > span').allTextContents();
            const anchors = lines.filter((line) => /^\s*\/\/ ANCHOR/.test(line)).length;
            holds(shown.length === lines.length - anchors, `${shown.length} lines of ${lines.length}`);
            const walk = new Walk(of);
            for (const role of [null, ...explained(name)]) {
                if (role) {
                    const index = of.head.roles.indexOf(role);
                    walk.take(walk.of(index));
                    await choice(page, index).click();
                }
                const stands = of.stands[walk.node[1]];
                for (const [index, who] of of.head.roles.entries()) {
                    const move = walk.of(index);
                    const does = of.texts[move ? move[3] : stands[index][0]];
                    const label = (await choice(page, index).innerText()).replaceAll(/\s+/g, ' ');
                    const line = move && move[2] ? `, line ${move[2]}` : '';
                    holds(label.endsWith(`${who} ${does}${line}`), `${label}, and not ${does}`);
                    holds((await choice(page, index).getAttribute('aria-disabled')) === String(!move), `${who}: ${does}`);
                }
                if (walk.node[3] !== null) break;
                // Who scrolls the choices under a resting mouse enters them with it.
                await page.mouse.move(0, 0);
                const marks = await game(page).locator('.lab-whole .lab-badge').evaluateAll((all) =>
                    all.map((mark) => `${mark.className.match(/role-(\d)/)[1]} ${mark.closest('.marked').textContent.match(/\s(\d+) /)[1]}`));
                const due = stands.map(([, line], index) => `${index} ${line}`).filter((at) => !at.endsWith(' 0'));
                holds(String(marks.sort()) === String(due.sort()), `marks ${marks}, and not ${due}`);
                for (const [index, [, line]] of stands.entries()) {
                    if (line === 0) continue;
                    await choice(page, index).focus();
                    const seen = await game(page).locator('.lab-whole').evaluate((pre) => {
                        const [frame, now] = [pre.getBoundingClientRect(), pre.querySelector('.now').getBoundingClientRect()];
                        return { number: pre.querySelector('.now .lab-number').textContent.trim(), seen: now.top >= frame.top && now.bottom <= frame.bottom };
                    });
                    holds(seen.number === String(line), `line ${seen.number} is the current one, and not ${line}`);
                    await page.waitForFunction(() => {
                        const pre = document.querySelector('.scheduler-game .lab-whole');
                        const [frame, now] = [pre.getBoundingClientRect(), pre.querySelector('.now').getBoundingClientRect()];
                        return now.top >= frame.top && now.bottom <= frame.bottom;
                    }, undefined, { timeout: 3000 });
                }
            }
        }));
    await check(`the game of ${broken} shows the line of the last choice, however quickly one follows the other`, () =>
        open(name, {}, async (page) => {
            await settled(page);
            const shown = await game(page).locator('.lab-whole').evaluate(async (pre) => {
                const frames = async (count) => { while (count-- > 0) await new Promise(requestAnimationFrame); };
                const rest = async () => {
                    for (let [at, same] = [pre.scrollTop, 0]; same < 12; at = pre.scrollTop) {
                        await frames(1);
                        same = at === pre.scrollTop ? same + 1 : 0;
                    }
                };
                const choices = [...document.querySelectorAll('.scheduler-game .lab-choices button')];
                const shown = [];
                for (const last of choices) {
                    for (const passed of choices.filter((choice) => choice !== last)) {
                        for (const pause of [0, 3]) {
                            last.focus();
                            await rest();
                            passed.focus();
                            await frames(pause);
                            last.focus();
                            await rest();
                            const now = pre.querySelector('.now');
                            if (!now) continue;
                            const [frame, line] = [pre.getBoundingClientRect(), now.getBoundingClientRect()];
                            shown.push(line.top >= frame.top && line.bottom <= frame.bottom);
                        }
                    }
                }
                return shown;
            });
            holds(shown.length > 0 && shown.every(Boolean), `${shown.filter((is) => !is).length} of ${shown.length} are not shown`);
        }));
    for (const [width, height] of [[390, 480], [360, 740], [699, 900], [1280, 900]]) {
        await check(`the game of ${broken} keeps its state in view at ${width} px${width < 700 ? ', and its buttons fit fingers' : ''}`, () =>
            open(name, { width, height }, async (page) => {
                await settled(page);
                for (const role of explained(name).slice(0, 6)) {
                    const index = of.head.roles.indexOf(role);
                    await choice(page, index).click();
                }
                for (const index of of.head.roles.keys()) {
                    // Where there is room they stand side by side; where not, the choice comes right under the panel.
                    await choice(page, index).evaluate((at) => {
                        at.scrollIntoView({ block: 'center', behavior: 'instant' });
                        const sight = document.querySelector('.lab-sight');
                        if (sight.getBoundingClientRect().right > at.getBoundingClientRect().right + 10) return;
                        const under = 60 + sight.offsetHeight;
                        scrollBy({ top: at.getBoundingClientRect().top - under, behavior: 'instant' });
                    });
                    const seen = await choice(page, index).evaluate((at) => {
                        const [box, sight] = [at.getBoundingClientRect(), document.querySelector('.lab-sight').getBoundingClientRect()];
                        const hit = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
                        return { top: sight.top, bottom: sight.bottom, free: at.contains(hit) };
                    });
                    holds(seen.top >= 0 && seen.bottom <= height, `choice ${index + 1}: the panel is at ${seen.top} to ${seen.bottom}`);
                    holds(seen.free, `choice ${index + 1} is covered`);
                }
                if (width < 700) {
                    for (const walk of [0, 1]) {
                        const low = await game(page).locator('button:visible').evaluateAll((all) =>
                            all.filter((at) => at.getBoundingClientRect().height < 44).map((at) => at.textContent));
                        holds(low.length === 0, `too low: ${low}`);
                        if (walk === 0) await press(page, 'Random order');
                    }
                }
                const wide = await page.evaluate(() => document.documentElement.scrollWidth);
                holds(wide <= width, `it is ${wide} px wide`);
            }));
    }
    await check(`the game of ${fixed} says what its graph says, and ends well in any order`, () =>
        open(name, {}, async (page) => {
            await settled(page);
            await page.getByRole('button', { name: fixed, exact: true }).click();
            const { nodes, texts, head } = graph(fixed);
            const ends = nodes.filter((node) => node[3] !== null);
            holds(head.goals.length === 0 && ends.every((node) => !node[3][2]), 'an end that is a crash');
            holds(ends.every((node) => /^(served|the server has stopped|the client is accepted)/.test(texts[node[3][1]])), 'an end that is not served');
            holds(nodes.every((node) => node[2].length > 0 || node[3] !== null), 'an end without a verdict');
            const proof = await page.locator('.lab-proof').textContent();
            holds(proof.startsWith('Proved safe'), proof);
            await press(page, 'Hint');
            holds((await live(page)).includes('every order ends well'), await live(page));
            for (let order = 0; order < 40; order += 1) {
                await page.getByRole('button', { name: 'Random order' }).click();
                const said = await live(page);
                holds(/The end: (served|the server has stopped|the client is accepted)/.test(said), said);
                holds((await closed(page)) === '', 'there is nothing to close');
            }
        }));
}
if (withGame.length > 0) {
    await check('the code of the game knows no rule of the server', () => {
        const code = readFileSync(join(book, 'player/game.js'), 'utf8').replace(/^\s*(\/\/|\/\*\*).*$/gm, '').replace('epoll-autopsy', '');
        const words = /\b(worker|main|client|operator|session|buffer|task|queue|epoll|rearm|free|hang|crash|double|RST|FIN|wait)\b/gi;
        const found = code.match(words) ?? [];
        holds(found.length === 0, `it speaks of ${found}`);
    });
}

// Accessibility.
async function violations(page) {
    // axe is given to the page by hand: a content security policy would not let a script tag in.
    await page.evaluate(axe);
    const found = await page.evaluate(async (exclude) => {
        const there = exclude.filter((selector) => document.querySelector(selector));
        const result = await window.axe.run({ exclude: there.map((selector) => [selector]) });
        return result.violations
            .filter((violation) => ['serious', 'critical'].includes(violation.impact))
            .map((violation) => `${violation.id}: ${violation.nodes.slice(0, 6).map((node) => `${node.target} ${node.any[0]?.data?.contrastRatio ?? ''}`).join(' | ')}`);
    }, FURNITURE);
    holds(found.length === 0, found.join('\n'));
}
for (const name of chapters) {
    const themes = withPlayer.includes(name) || withGame.includes(name) ? THEMES : ['light', 'navy'];
    for (const theme of themes) {
        await check(`${name} has no serious violation (${theme})`, () =>
            open(name, { theme }, async (page) => {
                await unfolded(page);
                for (const last of await page.getByRole('button', { name: 'Last' }).all()) await last.click();
                const game = page.locator('.scheduler-game');
                if (withGame.includes(name)) {
                    for (const role of explained(name)) await game.locator(`[data-role="${role}"]`).click();
                    await game.locator('summary').click();
                    await page.waitForTimeout(300);
                    await violations(page);
                    // As soon as it is out of reach.
                    await game.getByRole('button', { name: 'Start again' }).click();
                    for (let order = 0; order < 20 && (await game.locator('.lab-closed').innerText()) === ''; order += 1) {
                        await game.getByRole('button', { name: 'Random order' }).click();
                    }
                }
                await page.waitForTimeout(300);
                await violations(page);
            }));
    }
}

// Pictures, to be looked at: where somebody looks.
for (const name of process.env.MATCH || process.env.CI ? [] : chapters.filter((_, at) => at % parts === part)) {
    for (const [theme, width] of [['light', 1280], ['navy', 1280], ['light', 360], ['ayu', 360]]) {
        await open(name, { theme, width, height: width === 360 ? 740 : 900, reducedMotion: 'reduce' }, async (page) => {
            await unfolded(page);
            const base = `${name.replaceAll('/', '-').replace('.html', '')}-${theme}-${width}`;
            await page.screenshot({ path: join(shots, `${base}.png`), fullPage: true });
            for (const [at, player] of (await page.locator('.lanes-player').all()).entries()) {
                const rows = await player.locator(ROWS).count();
                await player.locator(`${ROWS} button`).nth(rows - 1).click();
                await player.screenshot({ path: join(shots, `${base}-player${at}.png`) });
            }
            for (const game of await page.locator('.scheduler-game').all()) {
                for (const role of explained(name).slice(0, 6)) {
                    await game.locator(`[data-role="${role}"]`).click();
                }
                await game.screenshot({ path: join(shots, `${base}-game.png`) });
            }
        });
    }
}

// The picture of the player that the README and the introduction show.
if (withPlayer.includes('stage3.html') && !process.env.MATCH && part === 0) {
    await open('stage3.html', { width: 1000, height: 1600, reducedMotion: 'reduce' }, async (page) => {
        await settled(page);
        const player = page.locator('.lanes-player').first();
        await player.getByRole('button', { name: 'Last' }).click();
        await player.locator('.lab-box').screenshot({ path: join(shots, 'player.png'), animations: 'disabled' });
    });
}

await browser.close();
server.close();
const longest = took.sort(([one], [other]) => other - one).slice(0, 5).map(([seconds, name]) => `${seconds.toFixed(0)} s ${name}`);
console.log(`\nthe longest: ${longest.join('; ')}`);
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
