// Line numbers for the listings of the stages, and links to their lines from the reports.
//
// A listing is a part of a stage's file: where its lines are found there, they get that file's numbers. A place in a
// report (`lab/stages/stage4_broken.rs:141`) leads to its line in a listing of the same page, and that line is marked.
'use strict';

(() => {
    const { load, element } = window.lab;
    const PLACE = /lab\/stages\/(\w+)\.rs:(\d+)/g;

    /** The children of `code` as a list of lines; what was highlighted over several lines is so in each of them. */
    function linesOf(code) {
        const lines = [document.createDocumentFragment()];
        const walk = (node, wrap) => {
            for (const child of node.childNodes) {
                if (child.nodeType !== Node.TEXT_NODE) {
                    const shell = child.cloneNode(false);
                    walk(child, (inner) => {
                        const copy = shell.cloneNode(false);
                        copy.append(inner);
                        return wrap(copy);
                    });
                    continue;
                }
                child.data.split('\n').forEach((part, at) => {
                    if (at > 0) lines.push(document.createDocumentFragment());
                    if (part) lines[lines.length - 1].append(wrap(new Text(part)));
                });
            }
        };
        walk(code, (inner) => inner);
        if (!lines[lines.length - 1].textContent) lines.pop();
        return lines;
    }

    /** The number that each of these lines has in the source, or `null` if they do not stand there in one piece. */
    function numbersOf(lines, source) {
        const listed = source.map((text, at) => [text, at + 1]).filter(([text]) => !/^\s*\/\/ ANCHOR/.test(text));
        const start = listed.findIndex((_, from) => lines.every((line, at) => listed[from + at]?.[0] === line));
        return start < 0 || lines.length < 2 ? null : lines.map((_, at) => listed[start + at][1]);
    }

    function number(code, stage, source) {
        const lines = linesOf(code);
        const numbers = numbersOf(lines.map((line) => line.textContent), source);
        if (!numbers) return false;
        const rows = lines.map((line, at) => {
            const id = `${stage}-${numbers[at]}`;
            // The same lines may be listed twice: the first are the target.
            const attributes = { class: 'lab-line', 'data-line': numbers[at], id: document.getElementById(id) ? null : id };
            const row = element('span', attributes);
            row.append(line, '\n');
            return row;
        });
        code.replaceChildren(...rows);
        code.classList.add('lab-listing');
        return true;
    }

    /** A place in a report becomes a link, where its line is listed. */
    function link(code) {
        for (const node of [...code.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE)) {
            const parts = [];
            let from = 0;
            for (const place of node.data.matchAll(PLACE)) {
                const line = document.getElementById(`${place[1]}-${place[2]}`);
                if (!line) continue;
                line.classList.add('guilty');
                parts.push(node.data.slice(from, place.index), element('a', { href: `#${line.id}` }, place[0]));
                from = place.index + place[0].length;
            }
            if (parts.length > 0) node.replaceWith(...parts, node.data.slice(from));
        }
    }

    async function all() {
        const listings = [...document.querySelectorAll('pre > code.language-rust')];
        const reports = [...document.querySelectorAll('pre > code')].filter((code) => code.textContent.match(PLACE));
        const shown = [...document.querySelectorAll('.lanes-player, .scheduler-game')];
        if (shown.length === 0 || listings.length === 0) return;
        // The stages whose sources the players and games of this page show.
        const names = shown.map(({ dataset }) => dataset.trace || dataset.graphs).join(' ').match(/stage\d+_(broken|fixed)/g);
        const loading = [...new Set(names)].map(async (stage) => [stage, await load(`traces/${stage}.source.js`)]);
        const sources = await Promise.all(loading);
        for (const code of listings) sources.some(([stage, source]) => number(code, stage, source));
        reports.forEach(link);
        // Its target has come to be only now.
        document.querySelector('.lab-line:target, .lab-line[id="' + CSS.escape(location.hash.slice(1)) + '"]')?.scrollIntoView();
    }

    all();
})();
