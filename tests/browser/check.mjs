// The book in a real browser: `node check.mjs BOOK SHOTS LOG LIST`, with the built book, a folder for screenshots, what
// mdBook said, and the exhibits as `lab list --json` has them. `run` calls it.
// Prints a line a check and, at the end, `N passed, N failed`.

import { createServer } from 'node:http';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { extname, join, normalize, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const [book, shots, log, list] = process.argv.slice(2);
const exhibits = JSON.parse(readFileSync(list, 'utf8'));
const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const THEMES = ['light', 'rust', 'coal', 'navy', 'ayu'];
/** What a chapter's page may weigh beyond mdBook's own files, in bytes. */
const WEIGHT = 500_000;
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
async function check(name, body) {
    try {
        await body();
        passed += 1;
        console.log(`ok    ${name}`);
    } catch (error) {
        failures.push(name);
        console.log(`FAIL  ${name}\n      ${String(error.message || error).split('\n').slice(0, 12).join('\n      ')}`);
    }
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
// ONLY=stage3 looks at the pages of that name alone.
const pages = html(book).filter((page) => page.includes(process.env.ONLY || ''))
    .filter((page) => !['toc.html', '404.html'].includes(page)).sort();
const text = Object.fromEntries(pages.map((page) => [page, readFileSync(join(book, page), 'utf8')]));
// `index.html` is the first chapter once more.
const chapters = pages.filter((page) => !['print.html', 'index.html'].includes(page));
const withPlayer = chapters.filter((page) => text[page].includes('class="lanes-player"'));
const withGame = chapters.filter((page) => text[page].includes('class="scheduler-game"'));

const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--headless', '--disable-gpu', '--disable-quic', '--no-first-run',
        '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

/** Opens a page and gives it to `body`; whatever goes wrong on the way is in `page.troubles`. */
async function open(address, { theme = 'light', width = 1280, height = 900, ...options } = {}, body) {
    const context = await browser.newContext({ viewport: { width, height }, ...options });
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
};
/** For a recording: what its last row says. */
function ending(recording) {
    const exhibit = exhibits.find((one) => one.file_name === recording.replace('loom_', ''));
    holds(exhibit, `the catalogue knows no ${recording}`);
    const end = exhibit.verdict === 'serves' && exhibit.stops ? 'stops' : exhibit.verdict;
    return ENDS[end] ?? new RegExp(exhibit.ends.match(/^\w+/)[0]);
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
                await settled(page);
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
                await settled(page);
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
            await settled(page);
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
            await settled(page);
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
                    holds(said.split('which is freed').length - 1 === dangling, `${stage} ${row}: ${said}`);
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
    await check(`${name} numbers its listings, and its reports lead to their lines`, () =>
        open(name, {}, async (page) => {
            await settled(page);
            const wrong = await page.evaluate(async () => {
                const wrong = [];
                for (const line of document.querySelectorAll('.lab-line[id]')) {
                    const [, stage, number] = line.id.match(/^(\w+)-(\d+)$/);
                    const source = await window.lab.load(`traces/${stage}.source.js`);
                    if (`${source[number - 1]}\n` !== line.textContent || line.dataset.line !== number) wrong.push(line.id);
                }
                for (const link of document.querySelectorAll('pre a[href^="#stage"]')) {
                    const target = document.querySelector(link.getAttribute('href'));
                    const [, stage, number] = link.textContent.match(/(\w+)\.rs:(\d+)$/);
                    if (target?.id !== `${stage}-${number}` || !target.classList.contains('guilty')) wrong.push(link.textContent);
                }
                return wrong;
            });
            holds(wrong.length === 0, wrong.join(' '));
            const listings = await page.locator('.lab-listing').count();
            const some = ['introduction.html', 'loom.html'].includes(name) ? 0 : 1;
            holds(listings >= some, `${listings} listings have numbers`);
            if (name === 'stage4.html') {
                await page.locator('details.report summary').first().click();
                const link = page.locator('pre a', { hasText: 'stage4_broken.rs:141' }).first();
                await link.click();
                holds(await page.locator('#stage4_broken-141').evaluate((line) => line.matches(':target')), 'the line is the target');
            }
        }));
    await check(`${name} plays by itself, and stops at the end`, () =>
        open(name, {}, async (page) => {
            await page.clock.install();
            await page.reload();
            await settled(page);
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
            holds(await page.locator('.lanes-player pre').first().isVisible(), 'no figure');
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
                const inside = details.locator(':scope > :not(summary)').first();
                if (await details.evaluate((one) => one.closest('.lab-box'))) continue;
                holds(await inside.isVisible(), `folded in print: ${(await inside.textContent()).slice(0, 60)}`);
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

// The game.
function graph(stage) {
    let found;
    new Function('labData', readFileSync(join(book, `traces/${stage}.game.js`), 'utf8'))((_, data) => (found = data));
    return found;
}
/** The order that the chapter explains, by who moves; it stands beside the graphs. */
const explained = (name) => text[name].match(/data-order="([^"]+)"/)[1].split(' ');
for (const name of withGame) {
    const [broken, fixed] = text[name].match(/data-graphs="([^"]+)"/)[1].split(' ')
        .map((path) => path.match(/(\w+)\.game\.js/)[1]);
    const live = (page) => page.locator('.scheduler-game .lab-live').textContent();
    const choice = (page, role) => page.locator(`.scheduler-game [data-role="${role}"]`);
    const crashes = new RegExp('Crash: (use after free of session 1|double free of buffer 1|' +
        'client 2 gets the reply to client 1|hang: |never stops: )');
    await check(`the game of ${broken} comes to the crash by the chapter's order, and takes it back`, () =>
        open(name, {}, async (page) => {
            await settled(page);
            for (const role of explained(name)) {
                holds((await choice(page, role).getAttribute('aria-disabled')) === 'false', `${role} cannot move`);
                await choice(page, role).click();
            }
            holds(crashes.test(await live(page)), await live(page));
            await page.getByRole('button', { name: 'Undo' }).click();
            holds(!crashes.test(await live(page)), 'undone');
        }));
    await check(`the game of ${broken} comes to the crash by hints, with the fewest moves, by keyboard`, () =>
        open(name, {}, async (page) => {
            await settled(page);
            const { fewest } = graph(broken).head;
            const hint = page.getByRole('button', { name: 'Hint' });
            for (let move = 0; move < fewest; move += 1) {
                await hint.focus();
                await page.keyboard.press('Enter');
                await page.keyboard.press('Enter');
            }
            const said = await live(page);
            holds(crashes.test(said) && said.includes(`You needed ${fewest} moves. No order is shorter.`), said);
            await page.keyboard.press('Backspace');
            holds(!crashes.test(await live(page)), 'undone by keyboard');
            await page.keyboard.press('1');
        }));
    await check(`the game of ${fixed} says what its graph says, and ends well in any order`, () =>
        open(name, {}, async (page) => {
            await settled(page);
            await page.getByRole('button', { name: fixed, exact: true }).click();
            const { nodes, texts, head } = graph(fixed);
            const ends = nodes.filter((node) => node[3] !== null);
            holds(head.fewest === null && ends.every((node) => node[4] === null), 'an end that is a crash');
            holds(ends.every((node) => /^(served|the server has stopped)/.test(texts[node[3]])), 'an end that is not served');
            holds(nodes.every((node) => node[2].length > 0 || node[3] !== null), 'an end without a verdict');
            const proof = await page.locator('.lab-proof').textContent();
            holds(proof.startsWith('Proved safe'), proof);
            for (let order = 0; order < 40; order += 1) {
                await page.getByRole('button', { name: 'Random order' }).click();
                const said = await live(page);
                holds(/The end: (served|the server has stopped)/.test(said), said);
            }
        }));
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
                await settled(page);
                for (const last of await page.getByRole('button', { name: 'Last' }).all()) await last.click();
                if (withGame.includes(name)) await page.getByRole('button', { name: 'Random order' }).click();
                await page.waitForTimeout(300);
                await violations(page);
            }));
    }
}

// Pictures, to be looked at.
for (const name of chapters) {
    for (const [theme, width] of [['light', 1280], ['navy', 1280], ['light', 360], ['ayu', 360]]) {
        await open(name, { theme, width, height: width === 360 ? 740 : 900, reducedMotion: 'reduce' }, async (page) => {
            await settled(page);
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
if (withPlayer.length > 0) {
    await open(withPlayer[0], { width: 1000, height: 1600, reducedMotion: 'reduce' }, async (page) => {
        await settled(page);
        const player = page.locator('.lanes-player').first();
        await player.getByRole('button', { name: 'Last' }).click();
        await player.locator('.lab-box').screenshot({ path: join(shots, 'player.png'), animations: 'disabled' });
    });
}

await browser.close();
server.close();
console.log(`\n${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
